"""`mswitch demo`: all commands, from archives to report, on text that installed packages ship.

Every stage is a command that a user could type, run in a process of its own. A finished stage is
not repeated. The two runs train side by side, each on its own half of the processors. The text is
small (some 0.9 million characters) and the networks tiny: the report shows how the commands work,
not what a Switch Transformer gains.
"""

import glob
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ClassVar, NamedTuple

from rich.console import Console

from pipeline.artifacts import MANIFEST, Claim, claim, finish
from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import Out
from pipeline.stage import UNKNOWN, Intent, Job, output_lock
from pipeline.stopping import Stopped, at_second_signal
from pipeline.terminal import WITHIN, Terminal, print_next

DEMO_PACKAGES = ("gflanguages", "django", "warcio")  # two ship text, one writes archives
VOCABULARY_SIZE = 8192
# 1.9 M characters have 5,000 distinct ones; the rarest 0.05 % fall back to bytes, so that most of
# the 8,192 ids are words. mT5 has 250,000 ids and a coverage of 0.99999.
CHARACTER_COVERAGE = 0.9995
SAMPLE_CHARACTERS = 4_000_000
# Mean gains of 16 experts by millions of tokens read (docs/results/long.md).
PUBLISHED_GAINS = {40: 0.034, 79: 0.083, 158: 0.120, 317: 0.153}
PROGRAM = (sys.executable, "-m", "pipeline.cli")
# Two panels would overwrite each other: lines are printed. Two runs cannot share one accelerator.
BESIDE_ANOTHER = {"TTY_COMPATIBLE": "0", "JAX_PLATFORMS": "cpu"}
BY_THE_DEMO = {WITHIN: "demo"}  # what follows each stage is the demo's next one


@dataclass(frozen=True, kw_only=True)
class Demo(Stage):
    """Clean, tokenize, train two models and compare them, on text that installed packages ship."""

    example: ClassVar = "--out runs/demo"

    out: Out[Path] = field(default=Path("runs/demo"))
    """Directory for all output of the demo."""

    def jobs(self) -> Iterator[Job]:
        """Yields the job of all stages."""
        yield Job(lambda: intent_of(self.out), lambda: run_stages(self.out))


class Step(NamedTuple):
    """One command of the demo.

    Attributes:
        title: headline to print.
        command: words of the command line after `mswitch`.
        is_quiet: whether its output is not shown.
    """

    title: str
    command: list[str]
    is_quiet: bool = False


def intent_of(out: Path) -> Intent:
    """Returns what the demo would do.

    Raises:
        ArtifactError: if a package of the demo extra is not installed.
    """
    versions = demo_packages()
    outputs = [directory_of(stage) for together in commands(out) for stage in together]
    done = [output.name for output in outputs if (output / MANIFEST).exists()]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Intent(
        stage="demo",
        reads=[],
        writes="archive, corpus, vocabulary, tokens, two runs and a report",
        out=out,
        work=f"{len(outputs)} commands on text of {packages}; "
        f"finished: {', '.join(done) or 'none'}",
        time="about eight minutes on two cores, as documented" if not done else UNKNOWN,
    )


def directory_of(stage: Step) -> Path:
    """Returns the directory that a command of the demo writes to."""
    return Path(stage.command[-1].removeprefix("--out="))


def run_stages(out: Path) -> None:
    """Runs every stage in order, under the lock on all of it; each locks its own directory too."""
    with output_lock(out, "demo"):
        console = Terminal(highlight=False)
        started = time.monotonic()
        stages = commands(out)
        print_headline(console, 1, len(stages) + 1, "archives of shipped text, some records broken")
        write_archive(out / "archive")
        for number, together in enumerate(stages, 2):
            titles = ", ".join(stage.title for stage in together)
            print_headline(console, number, len(stages) + 1, titles)
            for stage in together:
                console.print(f"$ mswitch {shlex.join(stage.command)}", style="dim", soft_wrap=True)
            run_side_by_side(together)
        console.print(f"The demo took {time.monotonic() - started:.0f} s.")
        for line in last_lines(out):
            console.print(line)
        from pipeline.runs.uses import fill_command  # with Arrow

        if following := fill_command(out / "switch"):
            print_next("demo", *following)


def last_lines(out: Path) -> list[str]:
    """Returns what the demo has shown, what it cannot show, and where the report is."""
    corpus, tokens = (
        json.loads((out / name / MANIFEST).read_text())["languages"]
        for name in ("corpus", "tokens")
    )
    run = json.loads((out / "switch" / "recipe.json").read_text())
    rejected = sum(sum(language["rejected"].values()) for language in corpus.values())
    kept = sum(language["kept"] for language in corpus.values())
    blocks = sum(language["train"]["tokens"] for language in tokens.values())
    steps, rows = run["recipe"]["steps"], run["recipe"]["rows"]
    read = steps * rows * (run["lengths"]["inputs"] + run["lengths"]["targets"])
    gains = ", ".join(f"{gain:+.3f} after {length}M" for length, gain in PUBLISHED_GAINS.items())
    return [
        f"Every stage ran: {kept + rejected:,} pages in, {kept:,} kept and {rejected:,} rejected "
        f"with their reasons, {blocks:,} training tokens in {len(tokens)} languages, two networks "
        f"of {steps:,} steps, and a report.",
        f"After {read / 1e6:.1f}M tokens no gain can be seen: seeds alone make larger differences. "
        f"The published runs gain, in nats over an mT5 of equal width: {gains} tokens. A wider "
        "dense network does better still: docs/results/README.md says when experts pay.",
        f"The report is in {out / 'report' / 'index.html'}",
    ]


def commands(out: Path) -> list[tuple[Step, ...]]:
    """Returns the stages in order; those of one entry run side by side."""
    archive, corpus, vocabulary, tokens = (
        str(out / name) for name in ("archive", "corpus", "vocabulary", "tokens")
    )
    baseline, candidate, report = (str(out / name) for name in ("mt5", "switch", "report"))
    stages = [
        Step(
            "clean: pages of 101 languages",
            [
                "clean",
                "--rules=demo",
                f"--input={glob.escape(archive)}/*.warc.wet.gz",
                f"--out={corpus}",
            ],
        ),
        Step(
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
        Step(
            "tokenize",
            ["tokenize", f"--corpus={corpus}", f"--vocabulary={vocabulary}", f"--out={tokens}"],
        ),
        Step(
            "pretrain the dense baseline",
            ["pretrain", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={baseline}"],
        ),
        Step(
            "pretrain the Switch Transformer",
            ["pretrain", "--recipe=switch-demo", f"--tokens={tokens}", f"--out={candidate}"],
        ),
        Step(
            "report",
            [
                "report",
                f"--baseline={baseline}",
                f"--candidate={candidate}",
                f"--corpus={corpus}",
                f"--tokens={tokens}",
                f"--out={report}",
            ],
            is_quiet=True,  # its gain is that of chance, and a last line is what a reader keeps
        ),
    ]
    *before, dense, sparse, last = stages
    return [*((stage,) for stage in before), (dense, sparse), (last,)]


def demo_packages() -> dict[str, str]:
    """Returns the versions of the packages whose text the demo uses.

    Raises:
        ArtifactError: if a package of the demo extra is not installed.
    """
    try:
        return {name: metadata.version(name) for name in DEMO_PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise ArtifactError(
            f"The demo needs {error.name}, which is not installed; "
            "install mswitch with its demo extra, or run `make demo`."
        ) from error


def write_archive(directory: Path) -> None:
    """Writes the archives; does nothing if they are finished.

    Raises:
        ArtifactError: if a package of the demo extra is not installed.
    """
    versions = demo_packages()
    from data import demo  # imports the packages checked above

    if claim(directory, "demo-archive", {}, versions) is not Claim.FINISHED:
        paths = demo.write(directory)
        finish(directory, "demo-archive", {}, versions, {"files": [path.name for path in paths]})


def run_side_by_side(stages: Sequence[Step]) -> None:
    """Runs commands at once, each on its share of the processors; they print their own messages.

    With fewer processors than commands they run one after the other.

    Raises:
        ArtifactError: if a command failed; the others end first.
    """
    shares = shares_of_processors(len(stages))
    if not shares:
        for stage in stages:
            wait_for([stage], [start(stage, BY_THE_DEMO)])
        return
    started = [start_on(share, stage) for stage, share in zip(stages, shares, strict=True)]
    wait_for(stages, started)


def wait_for(stages: Sequence[Step], started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Waits until commands have ended; passes a signal on to each, and kills them at a second.

    Raises:
        ArtifactError: if one failed.
    """
    with at_second_signal(lambda: [process.kill() for process in started]):
        try:
            statuses = [process.wait() for process in started]
        except Stopped as stopped:
            for process in started:
                process.send_signal(stopped.status - 128)
            for process in started:
                process.wait()
            raise
    for stage, status in zip(stages, statuses, strict=True):
        check(stage, status)


def shares_of_processors(commands: int) -> list[list[int]]:
    """Returns processors for each command; empty for one command, or where they are too few."""
    if commands == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    own = sorted(os.sched_getaffinity(0))
    return [own[first::commands] for first in range(commands)] if len(own) >= commands else []


def start_on(processors: Sequence[int], stage: Step) -> subprocess.Popen[bytes]:
    """Starts a command on some of the processors."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)  # a process begins with those of the thread that starts it
    try:
        return start(stage, BY_THE_DEMO | BESIDE_ANOTHER)
    finally:
        os.sched_setaffinity(0, own)


def start(stage: Step, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a command in a group of its own: a signal of the terminal reaches it once, from here.

    Args:
        stage: the command.
        environment: variables beside those of this process.
    """
    words = [*PROGRAM, *stage.command]
    output = subprocess.DEVNULL if stage.is_quiet else None
    return subprocess.Popen(words, process_group=0, env=os.environ | environment, stdout=output)


def check(stage: Step, status: int) -> None:
    """Checks that a command ended well.

    Raises:
        ArtifactError: if it failed.
    """
    if status != 0:
        raise ArtifactError(
            f"The demo stopped at `mswitch {stage.command[0]}` (exit status {status}); "
            "its message stands above. The same command resumes there."
        )


def print_headline(console: Console, number: int, total: int, title: str) -> None:
    """Prints the headline of a stage."""
    console.print(f"{number}/{total}  {title}", style="bold")
