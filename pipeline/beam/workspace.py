"""The workspace: where the steps of one job leave results for each other until the job is finished.

    OUT/work/KEY/shards.json            the input files of each shard
    OUT/work/KEY/STEP/00003.arrow       spilled by one work item
    OUT/work/KEY/STEP/00003.json        its record, written last: the item is finished
    OUT/work/KEY/digests/               of each file of the output, left before the file appears
    OUT/work/KEY/scratch/               unfinished local files

A finished work item is never repeated: a killed job resumes after its last one, and the items
that were interrupted are written again under the same names.

KEY is a digest of everything that the work follows from: settings, inputs and their modification
times, the cut into shards, the version of the job's rules. A workspace with another KEY is stale.
Files of the output carry no KEY in their names, so they are removed together with a stale
workspace. OUT/work/forgetting.json is there meanwhile: after a kill in between, the next job
removes the rest, and its own records too if it is the one whose output is half removed.

Waves. The embedded runner groups data in memory, which takes about six times the size of the data.
There an exchange is cut into several waves: ranges of hash partitions, each a job of its own. An
engine with a real shuffle needs only one wave. Beam calls all of this and is not imported here.
"""

import contextlib
import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Any, NamedTuple, Protocol, TypeVar

from data.errors import DataError
from data.files.atomic import atomic_write
from data.files.digests import digest_of_contents, digest_of_value
from data.files.json_files import Digest, RelativePath, read_in_order, read_json
from data.files.locks import check_held
from data.files.paths import directories_in, exists, join_path, names_in, remove, sizes_in

WORK = "work"
SCRATCH = "scratch"
DIGESTS = "digests"
FORGETTING = "forgetting.json"
Shape = TypeVar("Shape")


@dataclass(frozen=True)
class Workspace:
    """The workspace of the job that writes to the directory `out`."""

    out: str
    key: str

    @property
    def directory(self) -> str:
        """Directory of everything that this job leaves for itself."""
        return join_path(self.out, WORK, self.key)

    @property
    def scratch(self) -> str:
        """Directory of unfinished files."""
        return join_path(self.directory, SCRATCH)

    def spill(self, step: str, number: int, of: str = "") -> str:
        """Returns the path of a spilled file; `of` names one of several files of a work item."""
        return join_path(self.directory, step + of, f"{number:05d}.arrow")

    def name_of(self, path: str) -> str:
        """Returns the name of a spilled file: its path below the workspace."""
        return path.removeprefix(f"{self.directory}/")

    def path_of(self, name: str) -> str:
        """Returns the path of the spilled file with this name."""
        return join_path(self.directory, name)

    def publish(self, path: str) -> AbstractContextManager[Path]:
        """Yields a local path to write to; the file appears under `path` when the block ends."""
        return atomic_write(path, self.scratch)

    @contextlib.contextmanager
    def publish_output(self, directory: str, name: str) -> Iterator[Path]:
        """Yields a local path to write a file of the output to, which appears below a directory.

        Its digest is left before. So every file that exists has one, whenever a job was killed.
        """
        with self.publish(join_path(directory, name)) as unfinished:
            yield unfinished
            self.leave_digest(name, digest_of_contents(unfinished))

    def leave_digest(self, name: str, digest: str) -> None:
        """Leaves the digest of a file of the output."""
        self.leave(DIGESTS, name.replace("/", "-"), (name, digest))

    def digest(self, name: str) -> Digest | None:
        """Returns the digest that was left of a file of the output; None if none was."""
        path = join_path(self.directory, DIGESTS, f"{name.replace('/', '-')}.json")
        return read_json(path, tuple[RelativePath, Digest])[1] if exists(path) else None

    def digests(self) -> dict[RelativePath, Digest]:
        """Returns the digest of each file of the output, by its name."""
        return dict(self.left(DIGESTS, tuple[RelativePath, Digest]))

    def write_shards(self, shards: Iterable[Any]) -> None:
        """Leaves the input files of each shard for the workers.

        In the job's graph they would be 10 MB for a crawl, more than Dataflow accepts.
        """
        self._write(self._shards, list(shards))

    def shards(self, shape: type[Shape]) -> Shape:
        """Returns the input files of each shard; read once per process, as KEY fixes them."""
        return _read_once(self._shards, shape)

    def is_done(self, step: str, number: int) -> bool:
        """Returns whether a work item is finished."""
        return exists(self._record(step, number))

    def finish(self, step: str, number: int, record: Any) -> None:
        """Writes the record of a work item, a JSON value, which marks the item as finished."""
        self._write(self._record(step, number), record)

    def record(self, step: str, number: int, shape: type[Shape]) -> Shape:
        """Returns the record of a finished work item."""
        return read_json(self._record(step, number), shape)

    def records(self, step: str, count: int, shape: type[Shape]) -> Iterator[Shape]:
        """Yields the records of a step's work items, in order; checks that none is missing.

        A sum of these is complete, because check and sum come from one read.

        Raises:
            DataError: if work items are missing, whatever the runner reports.
        """
        done = self.done(step)
        if missing := count - len(done):
            raise DataError(incomplete(f"{missing} work items of {step}", self.out))
        return self.records_of(step, done, shape)

    def records_of(self, step: str, numbers: Iterable[int], shape: type[Shape]) -> Iterator[Shape]:
        """Yields the records of some finished work items of a step, in order."""
        return read_in_order((self._record(step, number) for number in numbers), shape)

    def leave(self, folder: str, name: str, value: Any) -> None:
        """Leaves a JSON value under a name of its own."""
        self._write(join_path(self.directory, folder, f"{name}.json"), value)

    def left(self, folder: str, shape: type[Shape] | GenericAlias) -> Iterator[Shape]:
        """Yields the JSON values that were left in a folder, in the order of their names."""
        path = join_path(self.directory, folder)
        return read_in_order((join_path(path, name) for name in names_in(path)), shape)

    def done(self, step: str) -> list[int]:
        """Returns the numbers of a step's finished work items, in order."""
        names = names_in(join_path(self.directory, step))
        return sorted(int(Path(name).stem) for name in names if name.endswith(".json"))

    def forget_stale(self, outputs: Iterable[str]) -> bool:
        """Removes what an unfinished job with another KEY left; returns whether there was any.

        Args:
            outputs: names of the output's files and directories below `out`.
        """
        work = join_path(self.out, WORK)
        stale = [name for name in directories_in(work) if name not in (self.key, SCRATCH)]
        if not stale and not exists(join_path(work, FORGETTING)):
            return False
        check_held(self.out)
        # After a kill in here the next job, of whatever key, goes on with it: its own records may
        # be of outputs that are removed already.
        self._write(join_path(work, FORGETTING), stale)
        records = [f"{self.key}/{name}" for name in directories_in(self.directory)]
        removed = (f"{WORK}/{name}" for name in (*stale, *records, FORGETTING))
        for name in (*outputs, *removed):
            remove(join_path(self.out, name))
        return True

    @property
    def _shards(self) -> str:
        return join_path(self.directory, "shards.json")

    def _record(self, step: str, number: int) -> str:
        return join_path(self.directory, step, f"{number:05d}.json")

    def _write(self, path: str, value: Any) -> None:
        with self.publish(path) as unfinished:
            unfinished.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


class Sized(Protocol):
    """A file with its size in bytes."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...


S = TypeVar("S", bound=Sized)


def pack_files(files: Iterable[S], shard_bytes: int) -> list[list[S]]:
    """Returns runs of files of at most `shard_bytes` together; a larger file is alone.

    No run is empty, and none could take the next one's first file.
    """
    shards: list[list[S]] = []
    size = 0
    for file in files:
        if not shards or size + file.size > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(file)
        size += file.size
    return shards


def workspace_key(*determines: object) -> str:
    """Returns the key of a workspace: a digest of all that work of one job has in common."""
    return digest_of_value(determines)[:16]


def clear(out: str) -> None:
    """Removes every workspace of an output directory that is finished."""
    remove(join_path(out, WORK))


def check_files(out: str, files: Iterable[str]) -> None:
    """Checks that a job that ended well wrote all its files, whatever the runner reports.

    Each directory is listed once; a store would take hours to be asked about 300,000 files.

    Args:
        out: output directory of the job.
        files: paths of the output's files.

    Raises:
        DataError: if files of the output are missing.
    """
    if missing := absent(files):
        raise DataError(incomplete(f"{missing} files", out))


def absent(files: Iterable[str]) -> int:
    """Returns how many of these files are missing; each directory is listed once."""
    expected: defaultdict[str, set[str]] = defaultdict(set)
    for path in files:
        directory, _, name = path.rpartition("/")
        expected[directory].add(name)
    return sum(len(names - sizes_in(place).keys()) for place, names in expected.items())


def incomplete(what: str, out: str) -> str:
    """Returns the sentence for a job that ended well and left something out."""
    return (
        f"The runner reports that the job ended well, but {what} in {out} are missing; check that "
        "the workers reach it, and run the same command again: it resumes where the job stopped."
    )


@functools.lru_cache(maxsize=1)
def _read_once(path: str, shape: type[Any]) -> Any:
    return read_json(path, shape)


Parts = Iterable[tuple[int, bytes]]
"""What a partition receives: the number of a shard, and its packed keys."""


class Wave(NamedTuple):
    """Partitions that are exchanged at one time: from `first` up to and without `end`."""

    first: int
    end: int


class Waves(NamedTuple):
    """The waves of an exchange.

    Attributes:
        partitions: number of partitions.
        at_once: number of partitions in a wave.
    """

    partitions: int
    at_once: int

    @property
    def width(self) -> int:
        """Number of hashes of 64 bits that a partition has."""
        return (1 << 64) // self.partitions

    def all(self) -> Iterator[Wave]:
        """Yields the waves, in order."""
        for first in range(0, self.partitions, self.at_once):
            yield Wave(first, min(first + self.at_once, self.partitions))


class Exchange(Protocol):
    """One comparison over all shards; a frozen dataclass, as it is pickled for the workers."""

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        ...

    @property
    def name(self) -> str:
        """Name of the exchange in the workspace."""
        ...

    @property
    def waves(self) -> Waves:
        """Partitions that keys are sent to, and how many of them at one time."""
        ...

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the message of a shard: a partition of the wave, and the packed keys for it."""
        ...

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the verdicts of a partition: a shard, and what concerns it, packed."""
        ...

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the verdicts for a shard, by partition, to `verdict_path`."""
        ...


def verdict_path(exchange: Exchange, shard: int, wave: Wave, of: str = "") -> str:
    """Returns the path of what a shard collects in a wave; `of` names one of several files."""
    return exchange.workspace.spill(f"{exchange.name}{of}.{wave.first:05d}-{wave.end:05d}", shard)


def verdict_paths(exchange: Exchange, shard: int, of: str = "") -> list[str]:
    """Returns the paths of what a shard collects in all waves, in order."""
    return [verdict_path(exchange, shard, wave, of) for wave in exchange.waves.all()]


def is_collected(exchange: Exchange, wave: Wave, shards: int) -> bool:
    """Returns whether every shard has the verdicts of a wave, which then is not repeated."""
    folder = verdict_path(exchange, 0, wave).rpartition("/")[0]
    return len(names_in(folder)) == shards
