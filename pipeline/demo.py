"""`mswitch demo`: all commands, from archives to report, on text that installed packages ship.

Every stage is a command that a user could type, run in a process of its own. A finished stage is
not repeated. The text is small (some 0.9 million characters) and the networks tiny: the report
shows how the commands work, not what a Switch Transformer gains.
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
from pipeline.artifacts.output_lock import output_lock
from pipeline.errors import ArtifactError
from pipeline.stopping import Stopped
from pipeline.terminal import Terminal

DEMO_PACKAGES = ("gflanguages", "django", "warcio")  # two ship text, one writes archives
VOCABULARY_SIZE = 8192
# 1.9 M characters have 5,000 distinct ones; the rarest 0.05 % fall back to bytes, so that most of
# the 8,192 ids are words. mT5 has 250,000 ids and a coverage of 0.99999.
CHARACTER_COVERAGE = 0.9995
SAMPLE_CHARACTERS = 4_000_000


class Stage(NamedTuple):
    """One command of the demo.

    Attributes:
        title: headline to print.
        command: words of the command line after `mswitch`.
    """

    title: str
    command: list[str]


def run(arguments: Demo) -> None:
    """Runs every stage and prints the path of the report."""
    with output_lock(arguments.out, "demo"):
        run_stages(arguments.out)


def run_stages(out: Path) -> None:
    """Runs every stage in order; each locks its own directory too."""
    console = Terminal(highlight=False)
    started = time.monotonic()
    stages = commands(out)
    print_headline(console, 1, len(stages) + 1, "archives of shipped text, some records broken")
    write_archive(out / "archive")
    for number, stage in enumerate(stages, 2):
        print_headline(console, number, len(stages) + 1, stage.title)
        console.print(f"$ mswitch {shlex.join(stage.command)}", style="dim", soft_wrap=True)
        run_stage(stage)
    console.print(f"The demo took {time.monotonic() - started:.0f} s.")
    console.print(f"The report is in {out / 'report' / 'index.html'}", soft_wrap=True)


def commands(out: Path) -> list[Stage]:
    """Returns the stages in order."""
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
    """Writes the archives; does nothing if they are finished.

    Raises:
        ArtifactError: if a package of the demo extra is not installed.
    """
    try:
        versions = {name: metadata.version(name) for name in DEMO_PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise ArtifactError(
            f"The demo needs {error.name}, which is not installed; "
            "install mswitch with its demo extra, or run `make demo`."
        ) from error
    from data.demo import archive  # imports the packages checked above

    if claim(directory, "demo-archive", {}, versions) is not Claim.FINISHED:
        paths = archive.write(directory)
        finish(directory, "demo-archive", {}, versions, {"files": [path.name for path in paths]})


def run_stage(stage: Stage) -> None:
    """Runs one command, which prints its own messages.

    Raises:
        ArtifactError: if the command failed.
    """
    words = [sys.executable, "-m", "pipeline.cli", *stage.command]
    # A group of its own: a signal of the terminal reaches the stage once, from here.
    with subprocess.Popen(words, process_group=0) as process:
        try:
            status = process.wait()
        except Stopped as stopped:
            process.send_signal(stopped.status - 128)
            process.wait()
            raise
    if status != 0:
        raise ArtifactError(
            f"The demo stopped at `mswitch {stage.command[0]}` (exit status {status}); "
            "its message stands above. The same command resumes there."
        )


def print_headline(console: Console, number: int, total: int, title: str) -> None:
    """Prints the headline of a stage."""
    console.print(f"{number}/{total}  {title}", style="bold")
