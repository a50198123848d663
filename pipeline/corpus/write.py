"""The files of the corpus: what each shard has of a group of pages, the plan, and the writing.

A group is the pages of one language and split, or its rejected pages. A file holds the runs of
consecutive shards, so each run is read once, whatever the number of shards and files. Where the
pages with the smallest digests are held out, a run with both splits is read twice.

Each file fits a worker's memory. Rows are sorted by digest, then by content, so the bytes depend on
the pages alone. A file that exists is complete, and belongs to this job
(`pipeline/beam/workspace.py`), so it is not written again.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import Struct, to_builtins

from data.files.json_files import Count, RelativePath, read_json
from data.files.paths import exists, join_path
from data.numbers import is_first
from data.reading.page import REJECTED, WRITTEN, WRITTEN_WITH_CLUSTERS
from data.rules.held_out import BEFORE_ALL, AsPublished, OneIn, ShareOfEachLanguage
from data.rules.rule_sets import WebRuleSet
from data.urls import normalized_hash, number
from pipeline.beam.workspace import Workspace
from pipeline.corpus import read, spills
from pipeline.corpus.counts import SortedRun, Tally
from pipeline.corpus.pages import checked_urls, page_files, write_pages
from pipeline.corpus.read import BrokenFile

release_unused = pa.default_memory_pool().release_unused
PAGES_PER_FILE = 10_000  # 30 to 120 MB of text
BYTES_PER_FILE = 256 << 20
ALL_DIGESTS = 1 << 128
DIGEST_BYTES = 16
RUN = np.dtype(
    [("batch", "<u4"), ("pages", "<u4"), ("size", "<u8"), ("first", "<u8"), ("last", "<u8")]
)

HeldOutPages = OneIn | ShareOfEachLanguage | AsPublished


@dataclass(frozen=True)
class Addition:
    """What the plan of files must know of the corpus that a job adds to.

    Attributes:
        generation: number of additions, the job's included; 0 for a corpus of its own.
        held_out_up_to: digest of each language up to which pages are held out, in hexadecimal,
            where a share of each language is; below the first training page's where none is.
        pages: number of the corpus's kept pages by language.
        shards: number of the corpus's shards; those of what is added follow.
        corpus: the corpus.
    """

    generation: int
    held_out_up_to: Mapping[str, str]
    pages: Mapping[str, int]
    shards: int
    corpus: str

    @property
    def label(self) -> str:
        """Part of the names of files with what is added; they sort after those that are there."""
        return f"-added-{self.generation:03d}" if self.generation else ""

    def first_training_digest(
        self, group: str, rule: ShareOfEachLanguage, added: int, chosen: int
    ) -> int:
        """Returns the first digest of the training pages among what is added of a language.

        It is never above that of the corpus, or pages that were trained on would be held out. It
        falls as the language grows: 10 of 30 pages would else be a third of all that follow.

        Args:
            group: prefix of the language's files.
            rule: share of each language to hold out.
            added: number of added pages.
            chosen: first such digest of the added pages alone, for a new language.
        """
        code = group.rpartition("/")[2]
        if (last := self.held_out_up_to.get(code)) is None:
            return chosen
        pages = self.pages.get(code, 0) + added
        if not pages:  # only pages that the corpus had once, and has again
            return min(int(last, 16) + 1, chosen)
        return min(int(last, 16) + 1, rule.count(pages) * ALL_DIGESTS // pages)  # digests are even

    def held_out_digests(self, group: str) -> set[bytes]:
        """Returns the digests of the corpus's held-out pages of a language.

        A page of these that is added again stays held out, also if it is above the bound by then.
        """
        code = group.rpartition("/")[2]
        if code not in self.held_out_up_to:
            return set()
        files = page_files([self.corpus], code, "validation")
        urls = (url for file in files for url in checked_urls(file.path, file.digest))
        return set(map(normalized_hash, urls))


NO_ADDITION = Addition(0, {}, {}, 0, "")


class ShardOfGroup(NamedTuple):
    """What a shard has of a group.

    Attributes:
        shard: number of the shard.
        file: name of its spilled file in the workspace.
        runs: its runs in this file, packed as RUN.
        smallest: its smallest digests, one after the other, where they decide what is held out.
    """

    shard: int
    file: str
    runs: bytes
    smallest: bytes


class FileToWrite(NamedTuple):
    """One file of the corpus, and the spilled batches that hold its rows.

    Attributes:
        name: path relative to the corpus.
        split: split of its pages; "" where each page has its own.
        first, end: range of their digests.
        reads: spilled files, with the numbers of their batches.
        shards: range of the shards that its rows come from.
        bound: first digest of the training pages.
        has_held: whether pages from `bound` on stay held out, whose digests lie in the workspace: a
            validation file has the pages below `bound` and these, a training file all others.
    """

    name: str
    split: str
    first: int
    end: int
    reads: tuple[tuple[str, tuple[int, ...]], ...]
    shards: tuple[int, int]
    bound: int = 0
    has_held: bool = False

    @property
    def group(self) -> str:
        """Prefix of the names of its group's files."""
        return self.name.rpartition("/")[0]

    def choice(self, held: Collection[bytes]) -> Callable[[bytes], bool]:
        """Returns a function that is true for digests in its range whose pages are in the file.

        Args:
            held: digests of pages that stay held out.
        """
        if not self.has_held:
            return lambda digest: True
        is_held_out = self.split == "validation"
        return lambda digest: (digest in held or number(digest) < self.bound) == is_held_out


def files_of(
    group: str,
    parts: Iterable[tuple[int, str, bytes, bytes]],
    held_out: HeldOutPages,
    addition: Addition = NO_ADDITION,
    held_before: Collection[bytes] = (),
) -> Iterator[FileToWrite]:
    """Yields the files of a group of pages.

    Args:
        group: prefix of the files' names.
        parts: `ShardOfGroup` of all shards, in any order; read more than once.
        held_out: rule of the pages that are held out.
        addition: what is added to, if anything.
        held_before: digests of the held-out pages of what is added to.
    """
    runs, label = _Runs.of(parts), addition.label
    count = int(runs.table["pages"].sum())
    if group.startswith("rejected/"):
        yield from _files(f"{group}/rejected{label}", "", (0, ALL_DIGESTS), runs, 1.0)
    elif not isinstance(held_out, ShareOfEachLanguage):
        yield from _files(f"{group}{label}", "", (0, ALL_DIGESTS), runs, 1.0)
    else:
        smallest = _smallest(parts, held_out.maximum)
        last = held_out.last_held_out(count, smallest)
        end = 0 if last == BEFORE_ALL else number(last) + 1
        share = bisect_right(smallest, last) / count
        others = 1.0 - share
        if len(smallest) == held_out.maximum and smallest[-2:] == [last, last]:
            share = others = 1.0  # the pages of one address go together, and may be most or few
        added = int(runs.table["pages"][runs.shard >= addition.shards].sum())
        if (bound := addition.first_training_digest(group, held_out, added, end)) != end:
            end, share = bound, bound / ALL_DIGESTS
            others = 1.0 - share
        held_end = max((number(digest) + 1 for digest in held_before), default=0)
        has_held, held_end = held_end > end, max(held_end, end)
        for split, digests, part in (
            ("validation", (0, held_end), share),
            ("train", (end, ALL_DIGESTS), others),
        ):
            if digests[1]:
                for file in _files(f"{group}/{split}{label}", split, digests, runs, part):
                    yield file._replace(bound=end, has_held=has_held)


class _Runs(NamedTuple):
    """All runs of a group, by shard: the files that hold them, and each run with its file."""

    files: list[str]
    shards: list[int]
    file: np.ndarray
    table: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[tuple[int, str, bytes, bytes]]) -> "_Runs":
        ordered = sorted((shard, file, runs) for shard, file, runs, _ in parts if runs)
        shards, files, packed_runs = map(list, zip(*ordered, strict=True))
        tables = [np.frombuffer(runs, RUN) for runs in packed_runs]
        file = np.repeat(np.arange(len(files)), list(map(len, tables)))
        return cls(files, shards, file, np.concatenate(tables))

    @property
    def shard(self) -> np.ndarray:
        """Number of each run's shard."""
        return np.array(self.shards)[self.file]

    def overlapping(self, first: int, end: int) -> "_Runs":
        overlaps = (self.table["last"] >= np.uint64(first >> 64)) & (
            self.table["first"] <= np.uint64(end - 1 >> 64)
        )
        return self._replace(file=self.file[overlaps], table=self.table[overlaps])

    def shards_of(self, begin: int, end: int) -> tuple[int, int]:
        """Returns the range of shards of some runs."""
        return self.shards[self.file[begin]], self.shards[self.file[end - 1]] + 1

    def reads(self, begin: int, end: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        batches = self.table["batch"][begin:end].tolist()
        pairs = zip(self.file[begin:end].tolist(), batches, strict=True)
        by_file = itertools.groupby(pairs, key=lambda pair: pair[0])
        return tuple(
            (self.files[file], tuple(batch for _, batch in pairs)) for file, pairs in by_file
        )


def _files(
    name: str, split: str, digests: tuple[int, int], runs: _Runs, share: float
) -> Iterator[FileToWrite]:
    """Yields files of about the same size; `share` of each run's pages are in the split."""
    runs = runs.overlapping(*digests)
    ends = _cut(runs.table, share)
    for index, (begin, end) in enumerate(itertools.pairwise(ends)):
        path = f"{name}-{index:05d}-of-{len(ends) - 1:05d}.parquet"
        reads, shards = runs.reads(begin, end), runs.shards_of(begin, end)
        yield FileToWrite(path, split, *digests, reads, shards)


def _cut(runs: np.ndarray, share: float) -> list[int]:
    """Returns where the files begin among the runs, and the end of the last."""
    sizes = np.maximum(runs["pages"] / PAGES_PER_FILE, runs["size"] / BYTES_PER_FILE) * share
    before = np.cumsum(sizes) - sizes
    total = float(sizes.sum())
    count = max(1, round(np.ceil(total)))
    index = np.floor(before * (count / total)) if total else np.zeros(len(runs))
    begins = np.flatnonzero(is_first(index))
    return [*begins.tolist(), len(runs)]


def smallest_digest(parts: Iterable[tuple[int, str, bytes, bytes]]) -> int:
    """Returns the smallest digest of a group, where they decide what is held out; 0 if not."""
    return next(map(number, _smallest(parts, 1)), 0)


def _smallest(parts: Iterable[tuple[int, str, bytes, bytes]], most: int) -> list[bytes]:
    """Returns the smallest digests of all shards, in order."""
    smallest: list[bytes] = []
    for _, _, _, digests in parts:
        smallest = sorted([*smallest, *split_digests(digests)])[:most]
    return smallest


def split_digests(digests: bytes) -> Iterator[bytes]:
    """Yields digests that are packed one after the other."""
    return (digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))


PLAN = "plan"  # folder of the workspace
HELD = "held"  # folder of digests that stay held out: in the plan each file would have all of them


class PlannedFile(Struct, frozen=True, array_like=True):
    """A file of the corpus, the range of shards that its rows come from, and its digest.

    The digest is "" until the file is written.
    """

    name: RelativePath
    first: Count
    end: Count
    digest: str = ""


class PlannedGroup(Struct, frozen=True, kw_only=True):
    """What the plan of a group leaves in the workspace.

    Attributes:
        group: name of the group.
        files: its files.
        held_out_up_to: digest up to which pages are held out, in hexadecimal; None where no share
            is. If no page is, it is below that of every training page.
    """

    group: str
    files: list[PlannedFile]
    held_out_up_to: str | None


@dataclass(frozen=True)
class GroupsOfShard:
    """Yields a shard's part of each group, from the records of its own work items."""

    workspace: Workspace
    steps: tuple[str, ...]

    def __call__(self, shard: int) -> Iterator[tuple[str, tuple[int, str, bytes, bytes]]]:
        """Reads the records of one shard."""
        for step in self.steps:
            tally = self.workspace.record(step, shard, Tally)
            by_file: dict[tuple[str, str], list[SortedRun]] = defaultdict(list)
            for run in tally.runs:
                by_file[run.group, run.file].append(run)
            for (group, file), runs in by_file.items():
                yield group, ShardOfGroup(shard, file, _pack(runs), b"")
            for code, digests in tally.smallest.items():
                if digests:
                    smallest = b"".join(map(bytes.fromhex, digests))
                    yield f"pages/{code}", ShardOfGroup(shard, "", b"", smallest)
            if tally.broken:
                name = self.workspace.name_of(read.broken_path(self.workspace, shard))
                yield read.BROKEN_FOLDER, ShardOfGroup(shard, name, b"", b"")


@dataclass(frozen=True)
class PlanGroup:
    """Plans the files of one group, and leaves their names in the workspace."""

    workspace: Workspace
    held_out: HeldOutPages
    addition: Addition = NO_ADDITION

    def __call__(
        self, group: tuple[str, Iterable[tuple[int, str, bytes, bytes]]]
    ) -> list[FileToWrite | BrokenFile]:
        """Returns the files."""
        name, parts = group
        if name == read.BROKEN_FOLDER:
            files: list[FileToWrite | BrokenFile] = [
                BrokenFile(read.BROKEN_NAME, tuple(file for _, file, *_ in sorted(parts)))
            ]
        else:
            held = self.addition.held_out_digests(name) if name.startswith("pages/") else ()
            files = [*files_of(name, parts, self.held_out, self.addition, held)]
            if any(file.has_held for file in files if isinstance(file, FileToWrite)):
                self.workspace.leave(HELD, file_name(name), sorted(map(bytes.hex, held)))
        planned = PlannedGroup(
            group=name,
            files=[*map(_to_planned_file, files)],
            held_out_up_to=_held_out_up_to(files, parts),
        )
        self.workspace.leave(PLAN, file_name(name), to_builtins(planned))
        return files


def file_name(group: str) -> str:
    """Returns the name under which a group leaves something in the workspace."""
    return group.replace("/", "-")


@lru_cache(maxsize=4)
def held_digests(directory: str, group: str) -> frozenset[bytes]:
    """Returns the digests of a group's pages that stay held out; read once for many files.

    Args:
        directory: directory of the workspace.
        group: the group.
    """
    digests = read_json(join_path(directory, HELD, f"{file_name(group)}.json"), list[str])
    return frozenset(map(bytes.fromhex, digests))


def _to_planned_file(file: FileToWrite | BrokenFile) -> PlannedFile:
    return PlannedFile(file.name, *(file.shards if isinstance(file, FileToWrite) else (0, 0)))


def _held_out_up_to(
    files: Iterable[FileToWrite | BrokenFile], parts: Iterable[tuple[int, str, bytes, bytes]]
) -> str | None:
    ends = {file.first for file in files if isinstance(file, FileToWrite) and file.split == "train"}
    return next((f"{max((end or smallest_digest(parts)) - 1, 0):032x}" for end in ends), None)


def _pack(runs: Iterable[SortedRun]) -> bytes:
    rows = [
        (run.batch, run.pages, run.size, int(run.first[:16], 16), int(run.last[:16], 16))
        for run in runs
    ]
    return np.array(rows, RUN).tobytes()


@dataclass(frozen=True)
class WriteFile:
    """Writes a file of the corpus."""

    workspace: Workspace
    columns: pa.Schema

    @classmethod
    def of(cls, workspace: Workspace, rules: object) -> "WriteFile":
        """Returns the step for these rules; `mswitch-web` writes sizes of clusters."""
        has_clusters = isinstance(rules, WebRuleSet)
        return cls(workspace, WRITTEN_WITH_CLUSTERS if has_clusters else WRITTEN)

    def __call__(self, file: FileToWrite | BrokenFile) -> str:
        """Writes the file, unless it exists; returns its name."""
        if isinstance(file, BrokenFile):
            return read.write_broken(self.workspace, file)
        out = self.workspace.out
        if not exists(join_path(out, file.name)):
            release_unused()  # of the file before; a process would keep what three of them took
            table = self._read(file)
            release_unused()
            table = _sort(table)
            release_unused()
            columns = REJECTED if file.name.startswith("rejected/") else self.columns
            if file.split:
                split = pa.array([file.split] * len(table), pa.string())
                table = table.set_column(table.schema.get_field_index("split"), "split", split)
            write_pages(self.workspace, out, file.name, table.select(columns.names).cast(columns))
        return file.name

    def _read(self, file: FileToWrite) -> pa.Table:
        held = held_digests(self.workspace.directory, file.group) if file.has_held else ()
        has = file.choice(held)
        rows = (
            _range(batch, file.first, file.end, has)
            for name, numbers in file.reads
            for batch in spills.batches(self.workspace.path_of(name), numbers)
        )
        runs = pa.Table.from_batches([batch for batch in rows if batch.num_rows], spills.RUN_SCHEMA)
        return runs.combine_chunks()  # sorting would join the runs, and hold both with its result


def _range(
    batch: pa.RecordBatch, first: int, end: int, has: Callable[[bytes], bool]
) -> pa.RecordBatch:
    digests = batch["digest"].to_pylist()
    begin = bisect_left(digests, first.to_bytes(16, "big"))
    stop = len(digests) if end == ALL_DIGESTS else bisect_left(digests, end.to_bytes(16, "big"))
    rows = [row for row in range(begin, stop) if has(digests[row])]
    # A copy: a slice would keep the whole run in memory until the file is written.
    return batch.take(pa.array(rows, pa.int64()))


def _sort(table: pa.Table) -> pa.Table:
    order = ["digest", *REJECTED.names]
    digest = table["digest"].cast(pa.binary())
    table = table.set_column(table.schema.get_field_index("digest"), "digest", digest)
    return table.sort_by([(name, "ascending") for name in order])
