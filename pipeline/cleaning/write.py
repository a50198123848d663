"""Last step: the files of the corpus, each a range of digests of one group of pages.

The number of files follows from the tallies. Each fits a worker's memory, unless thousands of
rejected pages are identical. Rows are sorted by digest, then by content, so the bytes depend on the
pages alone. A file that exists is complete, and belongs to this job (`pipeline/beam/workspace.py`),
so it is not written again.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.reading.page_table import REJECTED, WRITTEN, WRITTEN_WITH_CLUSTERS
from data.rules.held_out import BEFORE_ALL, AsPublished, OneIn, ShareOfEachLanguage
from data.rules.web_rules import WebRuleSet
from data.stores.files import exists, join_path
from data.urls import number
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import broken_records, sorted_runs, spill
from pipeline.cleaning.broken_records import BrokenFile
from pipeline.cleaning.tally import SortedRun, Tally

PAGES_PER_FILE = 10_000  # 30 to 120 MB of text
BYTES_PER_FILE = 256 << 20
ALL_DIGESTS = 1 << 128

HeldOutPages = OneIn | ShareOfEachLanguage | AsPublished


class DigestRange(NamedTuple):
    """The pages of one group and split, with digests from `first` up to and without `end`."""

    group: str
    name: str
    split: str
    first: int
    end: int
    pages: int


class CorpusFile(NamedTuple):
    """One file of the corpus, and the spilled batches that hold its rows.

    Attributes:
        name: path relative to the corpus.
        split: split of its pages; "" where each page has its own.
        first, end: range of their digests.
        reads: spilled files, with the numbers of their batches.
    """

    name: str
    split: str
    first: int
    end: int
    reads: tuple[tuple[str, tuple[int, ...]], ...]


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

    def __call__(self, file: CorpusFile | BrokenFile) -> str:
        """Writes the file, unless it exists; returns its name."""
        if isinstance(file, BrokenFile):
            return broken_records.write(self.workspace, file)
        path = join_path(self.workspace.out, file.name)
        if not exists(path):
            table = _sorted(self._read(file))
            columns = REJECTED if file.name.startswith("rejected/") else self.columns
            if file.split:
                split = pa.array([file.split] * len(table), pa.string())
                table = table.set_column(table.schema.get_field_index("split"), "split", split)
            with self.workspace.publish(path) as unfinished:
                pq.write_table(
                    table.select(columns.names).cast(columns), unfinished, compression="zstd"
                )
        return file.name

    def _read(self, file: CorpusFile) -> pa.Table:
        found = (
            _range(batch, file.first, file.end)
            for name, numbers in file.reads
            for batch in spill.batches(self.workspace.path_of(name), numbers)
        )
        return pa.Table.from_batches([one for one in found if one.num_rows], sorted_runs.SCHEMA)


def corpus_files(tally: Tally, held_out: HeldOutPages) -> Iterator[CorpusFile]:
    """Yields the files of the corpus, from the sum of all tallies."""
    by_group: dict[str, list[SortedRun]] = defaultdict(list)
    for run in tally.runs:
        by_group[run.group].append(run)
    for group in sorted(by_group):
        for part in _parts(group, by_group[group], tally, held_out):
            size = sum(run.size for run in by_group[group])
            yield from _files(part, by_group[group], size)


def _parts(
    group: str, spilled: Sequence[SortedRun], tally: Tally, held_out: HeldOutPages
) -> Iterator[DigestRange]:
    count = sum(run.pages for run in spilled)
    if group.startswith("rejected/"):
        yield DigestRange(group, f"{group}/rejected", "", 0, ALL_DIGESTS, count)
    elif not isinstance(held_out, ShareOfEachLanguage):
        yield DigestRange(group, group, "", 0, ALL_DIGESTS, count)
    else:
        code = group.removeprefix("pages/")
        last = held_out.last_held_out(count, map(bytes.fromhex, tally.smallest[code]))
        end = 0 if last == BEFORE_ALL else number(last) + 1
        validation = held_out.count(count)
        if validation:
            yield DigestRange(group, f"{group}/validation", "validation", 0, end, validation)
        yield DigestRange(group, f"{group}/train", "train", end, ALL_DIGESTS, count - validation)


def _files(part: DigestRange, spilled: Sequence[SortedRun], size: int) -> Iterator[CorpusFile]:
    share = part.pages / sum(run.pages for run in spilled)
    count = max(1, -(-part.pages // PAGES_PER_FILE), round(share * size / BYTES_PER_FILE))
    width = part.end - part.first
    for index in range(count):
        first = part.first + width * index // count
        end = part.first + width * (index + 1) // count
        name = f"{part.name}-{index:05d}-of-{count:05d}.parquet"
        yield CorpusFile(name, part.split, first, end, _reads(spilled, first, end))


def _reads(
    spilled: Sequence[SortedRun], first: int, end: int
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Returns the spilled files and batches that may hold a digest of the range."""
    reads: Mapping[str, list[int]] = defaultdict(list)
    for run in spilled:
        if int(run.last, 16) >= first and int(run.first, 16) < end:
            reads[run.file].append(run.batch)
    return tuple((file, tuple(batches)) for file, batches in reads.items())


def _range(batch: pa.RecordBatch, first: int, end: int) -> pa.RecordBatch:
    digests = batch["digest"].to_pylist()
    begin = bisect_left(digests, first.to_bytes(16, "big"))
    stop = len(digests) if end == ALL_DIGESTS else bisect_left(digests, end.to_bytes(16, "big"))
    # A copy: a slice would keep the whole run in memory until the file is written.
    return batch.take(pa.array(range(begin, stop), pa.int64()))


def _sorted(table: pa.Table) -> pa.Table:
    order = ["digest", *REJECTED.names]
    digest = table["digest"].cast(pa.binary())
    table = table.set_column(table.schema.get_field_index("digest"), "digest", digest)
    return table.sort_by([(name, "ascending") for name in order])
