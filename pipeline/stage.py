"""A stage: what a command would do, and how it is done.

A command makes a job of its arguments before it takes a lock or writes anything. `--dry-run` shows
the job's intent (`show`). A real run is the same for all (`run_stage`): it locks the directory,
claims it with the intent, works, writes the manifest and prints what was made. So both read the
same input, and refuse the same in the same words, and a job holds only what is its own.
`withdraw` changes a finished corpus in place and `evaluate` adds to a run, so both keep an order of
their own.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from data.files.locks import check_unlocked, locked
from data.files.paths import is_remote, size_of
from pipeline import artifacts
from pipeline.artifacts import Claim
from pipeline.errors import WRITABLE, ArtifactError
from pipeline.terminal import Terminal, print_end, print_lines, print_message


@contextmanager
def output_lock(out: Path | str, stage: str) -> Iterator[None]:
    """Holds the lock on an output directory within the block.

    Args:
        out: directory that the command writes to, local or remote.
        stage: name of the command.

    Raises:
        LockHeld: if another command holds it.
    """
    with locked(out, stage, partial(_notify, stage)):
        yield


def check_free(out: Path | str, stage: str) -> None:
    """Checks that no other command holds the lock on an output directory, without taking it.

    Raises:
        LockHeld: if one does.
    """
    check_unlocked(out, partial(_notify, stage))


def _notify(stage: str, sentence: str) -> None:
    print_message(f"{stage}: {sentence}")


UNKNOWN = "nothing is known to predict it from"


class Reading(NamedTuple):
    """Something that a command reads.

    Attributes:
        name: what it is.
        place: where it is, as the user named it.
        files: number of files.
        size: bytes of the files; None if unknown.
        holds: counts of what they hold, in words.
    """

    name: str
    place: str
    files: int
    size: int | None
    holds: str = ""

    def __str__(self) -> str:
        size = "of unknown size" if self.size is None else f"of {bytes_in_words(self.size)}"
        files = "1 file" if self.files == 1 else f"{self.files:,} files"
        return f"{self.name}: {files} {size}{self.holds and f', {self.holds}'}, in {self.place}"


class Identity(NamedTuple):
    """What makes an output this one, and no other: settings, and digests of inputs by name."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a command would do.

    Attributes:
        stage: name of the command.
        reads: everything that it reads.
        writes: what it writes, in words.
        out: directory that it writes to; None if it writes nothing.
        identity: what the directory is claimed for; None if it belongs to another stage.
        work: amount of work, in words.
        time: how long it is likely to take, in words.
        finds: what was found by looking at what it reads, in words.
    """

    stage: str
    reads: Sequence[Reading]
    writes: str
    out: Path | str | None = None
    identity: Identity | None = None
    work: str = ""
    time: str = UNKNOWN
    finds: Sequence[str] = ()

    @property
    def place(self) -> Path | str:
        """The directory, of a command that writes to one."""
        assert self.out is not None
        return self.out

    @property
    def claimed_for(self) -> Identity:
        """The identity, of a command that claims its directory."""
        assert self.identity is not None
        return self.identity


class Outcome(NamedTuple):
    """What a command made.

    Attributes:
        body: what the manifest records beside settings and inputs.
        made: what was made and where, in words.
        cautions: sentences on what to know about it; read once the directory is finished.
        following: words of the next command; read like `cautions`.
    """

    body: Mapping[str, Any]
    made: str
    cautions: Iterable[str] = ()
    following: Iterable[object] = ()


class Job(NamedTuple):
    """What a command would do, and how it is done.

    Attributes:
        intent: returns what would be done, for a dry run.
        run: does it.
    """

    intent: Callable[[], Intent]
    run: Callable[[], object]


def staged_job(
    intent: Intent, work: Callable[[], Outcome], tidy: Callable[[], None] = lambda: None
) -> Job:
    """Returns the job of a command that fills a directory; the arguments are `run_stage`'s."""
    return Job(lambda: intent, lambda: run_stage(intent, work, tidy))


def run_stage(
    intent: Intent, work: Callable[[], Outcome], tidy: Callable[[], None] = lambda: None
) -> Outcome | None:
    """Does a command's work under the lock on its directory, unless it is finished there.

    Returns what was made, or None if it was finished.

    Args:
        intent: what the command would do.
        work: does it, and returns what was made.
        tidy: removes what only an unfinished directory needs.

    Raises:
        LockHeld: if another command holds the lock.
        ArtifactError: if the directory holds something else.
    """
    with claimed(intent) as there:
        if there is Claim.FINISHED:
            tidy()
            return None
        outcome = work()
        finish(intent, outcome.body)
        tidy()
        print_end(intent.stage, outcome.made, outcome.cautions, outcome.following)
        return outcome


@contextmanager
def claimed(intent: Intent) -> Iterator[Claim]:
    """Holds the lock on the intent's directory, and claims it; prints if it is finished.

    Raises:
        LockHeld: if another command holds the lock.
        ArtifactError: if the directory holds something else.
    """
    with output_lock(intent.place, intent.stage):
        there = claim(intent)
        if there is Claim.FINISHED:
            Terminal(stderr=True).print(f"{intent.stage}: {intent.place} is finished.")
        yield there


def claim(intent: Intent) -> Claim:
    """Claims the intent's directory, which is locked.

    Raises:
        ArtifactError: if it holds something else.
    """
    return artifacts.claim(intent.place, intent.stage, *intent.claimed_for)


def finish(intent: Intent, body: Mapping[str, Any]) -> None:
    """Writes the manifest of a claimed directory, which completes it."""
    artifacts.finish(intent.place, intent.stage, *intent.claimed_for, body)


def show(intent: Intent) -> None:
    """Prints what a command would do; writes nothing.

    Raises:
        LockHeld: if another command holds the lock.
        ArtifactError: if the real command would refuse the directory.
    """
    print_lines(*lines(intent, look(intent)))


def look(intent: Intent) -> Claim:
    """Returns the state that the real command would find in its directory.

    Raises:
        LockHeld: if another command holds the lock.
        ArtifactError: if the real command would refuse the directory.
    """
    if intent.out is None:
        return Claim.FRESH
    check_free(intent.out, intent.stage)
    there = Claim.FRESH
    if intent.identity is not None:
        there = artifacts.look(intent.out, intent.stage, *intent.identity)
    if there is not Claim.FINISHED:
        check_writable(intent.out)
    return there


def check_writable(out: Path | str) -> None:
    """Checks that this user may write in a local directory, or make it.

    Raises:
        ArtifactError: if not.
    """
    existing = None if is_remote(out) else nearest(out)
    if existing and not is_writable(existing):
        raise ArtifactError(
            f"{out} was to be written and cannot be ({existing} is not a directory that this user "
            f"may write); {WRITABLE}."
        )


def lines(intent: Intent, there: Claim) -> Iterator[str]:
    """Yields an intent in words."""
    stage = intent.stage
    if there is Claim.FINISHED:
        yield f"{stage}: {intent.out} is finished; the command would do nothing."
        return
    for reading in intent.reads:
        yield f"{stage}: would read {reading}"
    yield from (f"{stage}: {sentence}" for sentence in intent.finds)
    yield f"{stage}: would write {intent.writes}{_where(intent.out, there)}"
    if intent.work:
        yield f"{stage}: work: {intent.work}"
    yield f"{stage}: time: {intent.time}"
    yield f"{stage}: a dry run; nothing was written."


def _where(out: Path | str | None, there: Claim) -> str:
    if out is None:
        return ""
    state = ", going on with what is there" if there is Claim.UNFINISHED else ""
    if is_remote(out):
        return f", in {out}{state}"
    free = shutil.disk_usage(nearest(out)).free
    return f", in {out}{state} ({bytes_in_words(free)} free)"


def is_writable(path: Path) -> bool:
    """Returns whether this is a directory in which this user may write."""
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def nearest(path: Path | str) -> Path:
    """Returns a local path, or the nearest directory above it that exists."""
    whole = Path(path).absolute()
    return next(part for part in (whole, *whole.parents) if part.exists())


def bytes_in_words(count: float) -> str:
    """Returns a number of bytes in B, kB, MB, GB or TB, to three digits."""
    size = count
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def files_of(name: str, place: Path | str, paths: Iterable[Path | str], holds: str = "") -> Reading:
    """Returns files as something that is read; directories among them do not count."""
    sizes = [size for path in paths if (size := size_of(path)) is not None]
    return Reading(name, str(place), len(sizes), sum(sizes), holds)
