"""`mswitch COMMAND ...`: parses the command line and runs one command.

Exit status: 0 done; 2 wrong arguments or input; 143 training stopped by a signal and saved; 130,
129 or 143 another stage stopped by Ctrl-C, SIGHUP or SIGTERM; 141 nobody reads the output any more;
75 another host of the command was lost; 1 anything else. An unusable input, and a disk that is full
or may not be written, print one sentence, not a traceback. A command's module is imported only when
the command runs, so `--help` loads none of JAX, Beam and TensorFlow.
"""

import os
import signal
import sys

from pipeline.own_packages import check_not_hidden

check_not_hidden()  # before anything is imported from them
IS_PROGRAM = __name__ == "__main__" or os.path.basename(sys.argv[0]) == "mswitch"
if IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C shows no traceback of an import

import difflib
import functools
import importlib
import logging
import operator
import re
import select
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro import _strings

from data.errors import DataError
from model.configuration_checks import ConfigurationError
from pipeline import arguments
from pipeline.artifacts.claims import code_version
from pipeline.credentials import redacted, refuse
from pipeline.errors import (
    CUT_OFF_STATUS,
    PREEMPTED_STATUS,
    ArtifactError,
    Preempted,
    system_failure,
)
from pipeline.hardware.compiler_flags import set_compiler_flags
from pipeline.hardware.libtpu import leave_alone_without_chips
from pipeline.hardware.open_files import allow_open_files
from pipeline.stopping import Stopped, end, leave, say, stoppable
from pipeline.terminal import print_lines, print_message, replace_unknown_characters

COMMANDS: dict[str, type] = {
    "clean": arguments.Clean,
    "estimate": arguments.Estimate,
    "score": arguments.Score,
    "select": arguments.Select,
    "withdraw": arguments.Withdraw,
    "vocabulary": arguments.Vocabulary,
    "tokenize": arguments.Tokenize,
    "pretrain": arguments.Pretrain,
    "finetune": arguments.Finetune,
    "distill": arguments.Distill,
    "prune": arguments.Prune,
    "evaluate": arguments.Evaluate,
    "time": arguments.Time,
    "report": arguments.Report,
    "fill": arguments.Fill,
    "import-hf": arguments.ImportHf,
    "export-hf": arguments.ExportHf,
    "plan": arguments.Plan,
    "recipes": arguments.Recipes,
    "inspect": arguments.Inspect,
    "doctor": arguments.Doctor,
    "demo": arguments.Demo,
}

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # first part of an address parsed as a path

DESCRIPTION = """Raw web pages in 101 languages go in at one end; a report of what a Switch
Transformer gains over mT5, language by language, comes out at the other."""


def main(argv: list[str] | None = None) -> None:
    """Runs one command and exits with its status; a traceback, too, shows no credential."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "mswitch"
    replace_unknown_characters()
    try:
        with stoppable(name):
            status = run(argv)
    except Stopped as stopped:
        say(f"mswitch: {name} was {stopped}; the same command goes on from what is finished.")
        leave(stopped.status)
        return
    except Exception:
        for line in redacted(traceback.format_exc()).splitlines():
            print_message(line)
        status = 1
    end(status)


def run(argv: list[str]) -> int:
    """Runs one command; returns its exit status.

    Status 2 and 143 come with one sentence on standard error.
    """
    logging.getLogger().addFilter(is_worth_reading)
    leave_alone_without_chips()
    allow_open_files()
    try:
        refuse(argv)
        if argv == ["--version"]:
            print_lines(f"mswitch {code_version()}")
            return 0
        check_command(argv)
        own, beam = split_beam_options(argv)
        own = merge_repeated(own)
        check_no_beam_option(own)
        command = parse(own)
        name = own[0]
        check_paths(name, command)
        if beam:
            command = with_beam_options(name, command, beam)
        if hasattr(command, "deterministic"):
            set_compiler_flags(deterministic=command.deterministic)
        module = importlib.import_module(module_of(name))
        if getattr(command, "dry_run", False):
            show_intents(module.intents(command))
        else:
            module.run(command)
    except (DataError, ArtifactError, ConfigurationError) as error:
        print_message(f"mswitch: {redacted(str(error))}")
        return 2
    except Preempted as stopped:
        print_message(str(stopped))
        return PREEMPTED_STATUS
    except Exception as error:
        if isinstance(error, BrokenPipeError) and output_is_cut_off():
            return CUT_OFF_STATUS
        if (sentence := system_failure(error)) is None:
            raise
        print_message(f"mswitch: {argv[0]} met {redacted(sentence)}")
        return 2
    return 0


def output_is_cut_off() -> bool:
    """Returns whether nobody reads standard output any more, as after `| head`.

    What is still printed is then dropped. The same error may come from a connection to a store or a
    worker, where standard output is whole.
    """
    output = sys.stdout.fileno()
    look = select.poll()
    look.register(output, 0)  # errors alone: of a pipe, that no reader is left
    gone = any(event & select.POLLERR for _, event in look.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def show_intents(intents: Iterable[Any]) -> None:
    """Prints what a command would do; its module has loaded what this needs."""
    show = importlib.import_module("pipeline.artifacts.intent").show
    for intent in intents:
        show(intent)


def check_command(argv: list[str]) -> None:
    """Checks that the first word, unless an option, is a command.

    Raises:
        ArtifactError: if it is not; the message offers near matches.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        near = difflib.get_close_matches(argv[0], COMMANDS)
        offer = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ArtifactError(f"There is no command {argv[0]!r}.{offer} `mswitch --help` lists all.")


def module_of(name: str) -> str:
    """Returns the module of a command, which is named for it."""
    return f"pipeline.{name.replace('-', '_')}"


def parse(argv: list[str]) -> Any:
    """Returns a command's arguments; exits with a usage message if they cannot be parsed."""
    _strings.remove_single_line_breaks = unwrapped  # tyro's keeps breaks before indented lines
    commands = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]
    union: Any = functools.reduce(operator.or_, commands)
    return tyro.cli(union, prog="mswitch", description=DESCRIPTION, args=argv)


def unwrapped(text: str) -> str:
    """Returns help text without the line breaks of its source; blank lines stay."""
    return re.sub(r"(?<!\n)\n[ \t]*(?!\n)", " ", text)


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Returns False for Beam's warning, at every import, about missing cloud libraries."""
    return "apitools not found" not in record.getMessage()


def split_beam_options(argv: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Splits the command line at the first lone `--` into mswitch's options and Beam's."""
    if "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], tuple(argv[at + 1 :])


def merge_repeated(argv: list[str]) -> list[str]:
    """Joins the values of a repeated option: `--set a --set b` becomes `--set a b`.

    Without this the parser would silently drop all but the last. A repeated option of one value
    becomes a parser error.
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
    """Checks that no object-store address was given for a local path.

    `Path("gs://bucket/run")` would name a directory `gs:` in the working directory.

    Args:
        name: name of the command.
        command: arguments of the command.

    Raises:
        ArtifactError: if a path is an object-store address.
    """
    for path in paths_in(command):
        if SCHEME.fullmatch(path.parts[0] if path.parts else ""):
            raise ArtifactError(
                f"{name} was given {str(path).replace(':/', '://', 1)} where it reads or writes on "
                "this machine; name a path here, and copy to or from the store yourself."
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


def check_no_beam_option(own: list[str]) -> None:
    """Checks that no option of Beam stands before `--`, where it would be unknown.

    Beam is imported only if an option is not an argument of the command.

    Raises:
        ArtifactError: if one does.
    """
    kind = COMMANDS.get(own[0]) if own else None
    if kind is None or "beam" not in {one.name for one in fields(kind)}:
        return
    mine = {one.name.replace("_", "-") for one in fields(kind)} | {"help"}
    given = [word.removeprefix("--").partition("=")[0] for word in own if word.startswith("--")]
    if others := [name for name in given if name.replace("_", "-") not in mine]:
        known = importlib.import_module("pipeline.beam.options").known_options()
        for name in others:
            if f"--{name}" in known:
                raise ArtifactError(
                    f"--{name} is an option of Beam and was given to {own[0]} itself; write it at "
                    f"the end, after a lone --: mswitch {own[0]} ... -- --{name}=..."
                )


def with_beam_options(name: str, command: Any, beam: tuple[str, ...]) -> Any:
    """Returns the command with Beam options.

    Raises:
        ArtifactError: if the command runs no Beam job.
    """
    if not hasattr(command, "beam"):
        names = (word.partition("=")[0] for word in beam if word.startswith("--"))
        raise ArtifactError(
            f"Beam options ({' '.join(names)}) were given to {name}, which runs no Beam job; "
            "only clean, score, select, withdraw and tokenize take options after --."
        )
    return replace(command, beam=beam)


if __name__ == "__main__":
    main()
