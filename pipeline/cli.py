"""`mswitch COMMAND ...`: parses, calls one stage, and turns an unusable input into one sentence.

Exit status: 0 done, 2 wrong arguments or input, 143 training stopped by SIGTERM and saved, 1
anything else. A stage's module is imported only when its command runs, so `--help` needs none of
JAX, Beam or TensorFlow.
"""

import importlib
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from data.errors import DataError
from model.config import ConfigurationError
from pipeline import arguments
from pipeline.errors import ArtifactError
from pipeline.hardware.libtpu import leave_alone_without_chips

Command = (
    Annotated[arguments.Clean, tyro.conf.subcommand("clean")]
    | Annotated[arguments.Estimate, tyro.conf.subcommand("estimate")]
    | Annotated[arguments.Vocabulary, tyro.conf.subcommand("vocabulary")]
    | Annotated[arguments.Tokenize, tyro.conf.subcommand("tokenize")]
    | Annotated[arguments.Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[arguments.Distill, tyro.conf.subcommand("distill")]
    | Annotated[arguments.Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[arguments.Report, tyro.conf.subcommand("report")]
    | Annotated[arguments.Fill, tyro.conf.subcommand("fill")]
    | Annotated[arguments.ImportHf, tyro.conf.subcommand("import-hf")]
    | Annotated[arguments.ExportHf, tyro.conf.subcommand("export-hf")]
    | Annotated[arguments.Plan, tyro.conf.subcommand("plan")]
    | Annotated[arguments.Recipes, tyro.conf.subcommand("recipes")]
    | Annotated[arguments.Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[arguments.Demo, tyro.conf.subcommand("demo")]
)

STAGES = {
    arguments.Clean: "pipeline.clean",
    arguments.Estimate: "pipeline.estimate",
    arguments.Vocabulary: "pipeline.vocabulary",
    arguments.Tokenize: "pipeline.tokenize",
    arguments.Pretrain: "pipeline.pretrain",
    arguments.Distill: "pipeline.distill",
    arguments.Evaluate: "pipeline.evaluate",
    arguments.Report: "pipeline.report",
    arguments.Fill: "pipeline.fill",
    arguments.ImportHf: "pipeline.import_hf",
    arguments.ExportHf: "pipeline.export_hf",
    arguments.Plan: "pipeline.plan",
    arguments.Recipes: "pipeline.recipes",
    arguments.Inspect: "pipeline.inspect",
    arguments.Demo: "pipeline.demo",
}

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # the first part of an address that became a path

DESCRIPTION = """Raw web pages in 101 languages go in at one end; a report of what a Switch
Transformer gains over mT5, language by language, comes out at the other."""


def main(argv: list[str] | None = None) -> None:
    """Runs one command and exits with its status."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Runs one command; returns 0, or 2 after a sentence on standard error."""
    logging.getLogger().addFilter(is_worth_reading)
    leave_alone_without_chips()
    own, beam = split_beam_options(argv)
    own = merge_repeated(own)
    command: Any = tyro.cli(Command, prog="mswitch", description=DESCRIPTION, args=own)  # pyright: ignore[reportCallIssue, reportArgumentType]
    try:
        check_paths(own[0], command)
        if beam:
            command = with_beam_options(command, beam)
        stage = importlib.import_module(STAGES[type(command)])
        stage.run(command)
    except (DataError, ArtifactError, ConfigurationError) as error:
        print(f"mswitch: {error}", file=sys.stderr)
        return 2
    return 0


def is_worth_reading(record: logging.LogRecord) -> bool:
    """False for Beam's complaint, at every import, about cloud libraries that nobody asked for."""
    return "apitools not found" not in record.getMessage()


def split_beam_options(argv: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Splits the command line at the first lone `--`: ours before it, Beam's after it."""
    if "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], tuple(argv[at + 1 :])


def merge_repeated(argv: list[str]) -> list[str]:
    """Joins the values of an option given more than once: `--set a --set b` is `--set a b`.

    Otherwise the last one would count and the others be lost without a word. An option that takes
    one value becomes an error that way, as it should.
    """
    command, options = argv[:1], argv[1:]
    values: dict[str, list[str]] = {"": []}
    current = values[""]
    for word in options:
        if word.startswith("--"):
            name, separator, value = word.partition("=")
            current = values.setdefault(name, [])
            current += [value] if separator else []
        else:
            current.append(word)
    names = [word.partition("=")[0] for word in options if word.startswith("--")]
    if len(names) == len(set(names)):
        return argv
    return command + [
        word for name, words in values.items() for word in ([name] * bool(name) + words)
    ]


def check_paths(name: str, command: Any) -> None:
    """Checks that no address of a store was given where a path of this machine is wanted.

    `Path` would make of `gs://bucket/run` a directory `gs:` below the one we are in.

    Args:
        name: the command's.
        command: its arguments.

    Raises:
        ArtifactError: an address was given.
    """
    for path in paths_in(command):
        if SCHEME.fullmatch(path.parts[0] if path.parts else ""):
            raise ArtifactError(
                f"{name} was given {str(path).replace(':/', '://', 1)} where it reads or writes on "
                "this machine; name a path here, a mounted store's for instance, or copy to and "
                "from the store yourself."
            )


def paths_in(value: Any) -> Iterator[Path]:
    """Yields every path among a command's arguments."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from paths_in(one)
    elif is_dataclass(value):
        for one in fields(value):
            yield from paths_in(getattr(value, one.name))


def with_beam_options(command: Any, beam: tuple[str, ...]) -> Any:
    """Returns the command with Beam options.

    Raises:
        ArtifactError: the command runs no Beam job.
    """
    if not hasattr(command, "beam"):
        name = type(command).__name__.lower()
        raise ArtifactError(
            f"Beam options ({' '.join(beam)}) were given to {name}, which runs no Beam job; "
            "only clean and tokenize take options after --."
        )
    return replace(command, beam=beam)


if __name__ == "__main__":
    main()
