"""The files of a group of pages, from what each shard spilled for the group.

A group is the pages of one language and split, or its rejected pages. A file holds the runs of
consecutive shards, so each run is read once, whatever the number of shards and files. Where the
pages with the smallest digests are held out, a run with both splits is read twice.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from data.numbers import is_first
from data.rules.held_out import BEFORE_ALL, AsPublished, OneIn, ShareOfEachLanguage
from data.urls import number

PAGES_PER_FILE = 10_000  # 30 to 120 MB of text
BYTES_PER_FILE = 256 << 20
ALL_DIGESTS = 1 << 128
DIGEST_BYTES = 16
RUN = np.dtype(
    [("batch", "<u4"), ("pages", "<u4"), ("size", "<u8"), ("first", "<u8"), ("last", "<u8")]
)

HeldOutPages = OneIn | ShareOfEachLanguage | AsPublished


class Addition(NamedTuple):
    """The corpus that a job adds to.

    Attributes:
        generation: number of additions, this one included; 0 for a corpus of its own.
        held_out_up_to: digest of each language up to which pages are held out, in hexadecimal,
            where a share of each language is; below the first training page's where none is.
        pages: number of the corpus's kept pages by language.
        shards: number of the corpus's shards; those of what is added follow.
    """

    generation: int
    held_out_up_to: Mapping[str, str]
    pages: Mapping[str, int]
    shards: int

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
        every = self.pages.get(code, 0) + added
        if not every:  # only pages that the corpus had once, and has again
            return min(int(last, 16) + 1, chosen)
        return min(int(last, 16) + 1, rule.count(every) * ALL_DIGESTS // every)  # digests are even


NO_ADDITION = Addition(0, {}, {}, 0)


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


class CorpusFile(NamedTuple):
    """One file of the corpus, and the spilled batches that hold its rows.

    Attributes:
        name: path relative to the corpus.
        split: split of its pages; "" where each page has its own.
        first, end: range of their digests.
        reads: spilled files, with the numbers of their batches.
        shards: range of the shards that its rows come from.
    """

    name: str
    split: str
    first: int
    end: int
    reads: tuple[tuple[str, tuple[int, ...]], ...]
    shards: tuple[int, int]


def files_of(
    group: str,
    parts: Iterable[tuple[int, str, bytes, bytes]],
    held_out: HeldOutPages,
    addition: Addition = NO_ADDITION,
) -> Iterator[CorpusFile]:
    """Yields the files of a group of pages.

    Args:
        group: prefix of the files' names.
        parts: `ShardOfGroup` of all shards, in any order; read more than once.
        held_out: rule of the pages that are held out.
        addition: what is added to, if anything.
    """
    runs, label = _Runs.of(parts), addition.label
    count = int(runs.table["pages"].sum())
    if group.startswith("rejected/"):
        yield from _files(f"{group}/rejected{label}", "", (0, ALL_DIGESTS), runs, 1.0)
    elif not isinstance(held_out, ShareOfEachLanguage):
        yield from _files(f"{group}{label}", "", (0, ALL_DIGESTS), runs, 1.0)
    else:
        last = held_out.last_held_out(count, _smallest(parts, held_out.maximum))
        end = 0 if last == BEFORE_ALL else number(last) + 1
        share = held_out.count(count) / count
        added = int(runs.table["pages"][runs.shard >= addition.shards].sum())
        if (bound := addition.first_training_digest(group, held_out, added, end)) != end:
            end, share = bound, bound / ALL_DIGESTS
        if end:
            name = f"{group}/validation{label}"
            yield from _files(name, "validation", (0, end), runs, share)
        name = f"{group}/train{label}"
        yield from _files(name, "train", (end, ALL_DIGESTS), runs, 1.0 - share)


class _Runs(NamedTuple):
    """All runs of a group, by shard: the files that hold them, and each run with its file."""

    files: list[str]
    shards: list[int]
    file: np.ndarray
    table: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[tuple[int, str, bytes, bytes]]) -> "_Runs":
        found = sorted((shard, file, runs) for shard, file, runs, _ in parts if runs)
        tables = [np.frombuffer(runs, RUN) for _, _, runs in found]
        file = np.repeat(np.arange(len(found)), list(map(len, tables)))
        names, shards = [name for _, name, _ in found], [shard for shard, *_ in found]
        return cls(names, shards, file, np.concatenate(tables))

    @property
    def shard(self) -> np.ndarray:
        """Number of each run's shard."""
        return np.array(self.shards)[self.file]

    def overlapping(self, first: int, end: int) -> "_Runs":
        some = (self.table["last"] >= np.uint64(first >> 64)) & (
            self.table["first"] <= np.uint64(end - 1 >> 64)
        )
        return self._replace(file=self.file[some], table=self.table[some])

    def shards_of(self, begin: int, end: int) -> tuple[int, int]:
        """Returns the range of shards of some runs."""
        return self.shards[self.file[begin]], self.shards[self.file[end - 1]] + 1

    def reads(self, begin: int, end: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        batches = self.table["batch"][begin:end].tolist()
        pairs = zip(self.file[begin:end].tolist(), batches, strict=True)
        by_file = itertools.groupby(pairs, key=lambda one: one[0])
        return tuple((self.files[file], tuple(b for _, b in some)) for file, some in by_file)


def _files(
    name: str, split: str, digests: tuple[int, int], runs: _Runs, share: float
) -> Iterator[CorpusFile]:
    """Yields files of about the same size; `share` of each run's pages are in the split."""
    runs = runs.overlapping(*digests)
    ends = _cut(runs.table, share)
    for index, (begin, end) in enumerate(itertools.pairwise(ends)):
        path = f"{name}-{index:05d}-of-{len(ends) - 1:05d}.parquet"
        reads, shards = runs.reads(begin, end), runs.shards_of(begin, end)
        yield CorpusFile(path, split, *digests, reads, shards)


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
    found: list[bytes] = []
    for _, _, _, digests in parts:
        some = (digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))
        found = sorted([*found, *some])[:most]
    return found
