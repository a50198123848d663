"""The difference between a corpus and the one that is made of it, page by page.

    pages of the new corpus = pages of the old one - retracted + reinstated + added

A page is its address, time and text. So a page of the old corpus that lost a line to a new page is
retracted as it was and reinstated as it is. The changes of some consecutive shards lie in one file.
A page on which a verdict has changed has an outcome before the addition and one after it.

A file of the base corpus only ever loses rows. What is new, or another text than before, lies in
new files, so that token blocks made of the old files stay valid but for the rows that left.
"""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.files.atomic import copy_file
from data.files.digests import checked_copy
from data.files.paths import exists, join_path
from data.reading.page import Dropped, NotAsked, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judge import JudgePages
from pipeline.corpus.onto.verdicts import GrowthFiles, read_facts_once
from pipeline.corpus.pages import PAGES_FOLDER, REJECTED_FOLDER, whole_pages, write_pages
from pipeline.corpus.read import write_table
from pipeline.corpus.spills import GroupedPage, SortedRunWriter, content_digest, row_of
from pipeline.corpus.write import PlannedFile

FOLDER = "delta"
SHARDS_PER_FILE = 16  # a crawl of 9 TB has 2,048 shards: 128 files that workers write at once
ADDED, RETRACTED, REINSTATED = "added", "retracted", "reinstated"
KINDS = (ADDED, RETRACTED, REINSTATED)  # of counts
NEW = "new"  # why a page of the new input is added
LANGUAGE, LINES = "other_language", "other_lines"
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("digest", pa.string()),
        ("language", pa.string()),
        ("change", pa.string()),
        ("reason", pa.string()),
    ]
)


class Change(NamedTuple):
    """A row of the difference.

    Attributes:
        url: address of the page.
        digest: MD5 of its address, time and text, in hexadecimal.
        language: language of the page, in the corpus that has it.
        change: one of `KINDS`.
        reason: why: the rule that rejects it now, or rejected it before; `new`; `other_lines` or
            `other_language` where the page is in both corpora, but not the same.
    """

    url: str
    digest: str
    language: str
    change: str
    reason: str


def page_changes(was: Page | Dropped, now: Page | Dropped) -> Iterator[Change]:
    """Yields the changes of a page on which a verdict has changed."""
    if isinstance(was, Page) and isinstance(now, Page):
        if (was.text, was.language) == (now.text, now.language):
            return
        why = LINES if was.language == now.language else LANGUAGE
        yield _change(was, RETRACTED, why)
        yield _change(now, REINSTATED, why)
    elif isinstance(was, Page):
        yield _change(was, RETRACTED, _reason(now))
    elif isinstance(now, Page):
        yield _change(now, REINSTATED, _reason(was))


def _reason(dropped: Page | Dropped) -> str:
    return dropped.reason if isinstance(dropped, Rejected) else "not_asked"


def _change(page: Page, change: str, reason: str) -> Change:
    digest = content_digest(page.url, page.timestamp, page.text).hex()
    return Change(page.url, digest, page.language, change, reason)


def count(tally: Tally, changes: Iterable[Change]) -> None:
    """Counts changes."""
    for change in changes:
        tally.add(change.change, change.language, change.reason)


def batch(changes: Iterable[Change]) -> pa.RecordBatch:
    """Returns changes as a table."""
    return pa.RecordBatch.from_pylist([change._asdict() for change in changes], SCHEMA)


def changes_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's changes."""
    return workspace.spill(JudgePages.name, shard, ".delta")


def file_of(shard: int) -> int:
    """Returns the number of the file with a shard's changes."""
    return shard // SHARDS_PER_FILE


def names(shards: int) -> list[str]:
    """Returns the names of the files with the changes of all shards, in order."""
    files = file_of(shards - 1) + 1
    return [f"{FOLDER}/pages-{number:05d}-of-{files:05d}.parquet" for number in range(files)]


def judge_added(judge: JudgePages, shard: int) -> Tally:
    """Judges a new shard; lists the pages that it adds to the corpus."""
    tally, space = judge(shard), judge.workspace
    numbers = [run.batch for run in tally.runs if run.group.startswith("pages/")]
    with spills.writer(space, changes_path(space, shard), SCHEMA) as file:
        for rows in spills.batches(space.spill(judge.name, shard), numbers):
            names = ("url", "timestamp", "text", "language")
            pages = zip(*(rows[name].to_pylist() for name in names), strict=True)
            added = [
                Change(url, content_digest(url, time, text).hex(), code, ADDED, NEW)
                for url, time, text, code in pages
            ]
            count(tally, added)
            file.write_batch(batch(added))
    return tally


GONE_ROWS = "gone_rows"  # kind of count: rows of the corpus's files that a judgement changes
# A row that leaves a file of the corpus, or changes there: the file's folder, the page's address,
# why it is rejected ("" for a kept page), and the number of near-duplicates that the row stands for
# from now on (0 if it leaves).
GONE = pa.schema(
    [("folder", pa.string()), ("url", pa.string()), ("reason", pa.string()), ("size", pa.int32())]
)


Outcomes = tuple[Page | Dropped, Page | Dropped]  # of a page, before and after the addition


def new_row(was: Page | Dropped, now: Page | Dropped) -> GroupedPage | None:
    """Returns the row to write for a page, unless the corpus has it, or has it but for its size."""
    return None if row_of(was) == row_of(now) or _is_resized(was, now) else row_of(now)


def gone_rows(was: Page | Dropped, now: Page | Dropped) -> Iterator[tuple[str, str, str, int]]:
    """Yields the row of the corpus that a page loses, or that has another size, as in `GONE`."""
    if isinstance(was, NotAsked) or row_of(was) == row_of(now):
        return
    if isinstance(was, Page):
        size = now.cluster_size if isinstance(now, Page) and _is_resized(was, now) else 0
        yield f"{PAGES_FOLDER}/{was.language}", was.url, "", size
    else:
        yield f"{REJECTED_FOLDER}/{was.page.counted_language}", was.page.url, was.reason, 0


def _is_resized(was: Page | Dropped, now: Page | Dropped) -> bool:
    """Returns whether a page is kept as it was, but stands for another number of pages."""
    if not isinstance(was, Page) or not isinstance(now, Page):
        return False
    return row_of(was) == row_of(now._replace(cluster_size=was.cluster_size))


def gone_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the rows that leave files of the corpus."""
    return workspace.spill(JudgePages.name, shard, ".gone")


class RowChanges(NamedTuple):
    """The spilled files of a shard's changed rows.

    Attributes:
        new: rows to write.
        gone: rows that leave files of the corpus.
        delta: the difference of both corpora.
        tally: counts of the work item.
    """

    new: SortedRunWriter
    gone: pa.RecordBatchFileWriter
    delta: pa.RecordBatchFileWriter
    tally: Tally

    def write(self, pairs: Sequence[Outcomes]) -> None:
        """Writes what a chunk changes."""
        self.new.write(row for both in pairs if (row := new_row(*both)))
        gone = [row for both in pairs for row in gone_rows(*both)]
        self.gone.write_batch(
            spills.arrow_batch(GONE, zip(*gone, strict=True) if gone else [[]] * 4)
        )
        changes = [change for both in pairs for change in page_changes(*both)]
        self.delta.write_batch(batch(changes))
        count(self.tally, changes)
        self.tally.add(GONE_ROWS, number=len(gone))


@contextlib.contextmanager
def row_changes(judge: JudgePages, shard: int, tally: Tally) -> Iterator[RowChanges]:
    """Yields the spilled files of a shard's changed rows, which appear when the block ends."""
    workspace = judge.workspace
    with (
        judge.run_writer(shard, tally) as new_file,
        spills.writer(workspace, gone_path(workspace, shard), GONE) as gone_file,
        spills.writer(workspace, changes_path(workspace, shard), SCHEMA) as delta_file,
    ):
        yield RowChanges(new_file, gone_file, delta_file, tally)


FILES = "corpus_files"  # kind of count: files of the base corpus, by what became of them
FOUND_ROWS = "found_rows"  # kind of count: rows that were taken out of them, or changed
SAME, REWRITTEN, EMPTY = "same", "rewritten", "empty"


@dataclass(frozen=True)
class KeepFile:
    """Copies a file of the corpus, or writes it again without the rows that left."""

    workspace: Workspace
    growth: GrowthFiles

    name = "files"

    def __call__(self, number: int) -> Tally:
        """Keeps one file."""
        file = read_facts_once(self.growth).files[number]
        source = join_path(self.growth.corpus, file.name)
        target = join_path(self.workspace.out, file.name)
        gone = gone_of(self.workspace, file)
        left, changed = None, 0
        if gone:
            whole = whole_pages(self.growth.corpus, file.name, file.digest)
            left, changed = without(whole, gone)
        if left is None or not changed:
            with checked_copy(source, file.digest):
                self.workspace.leave_digest(file.name, file.digest)
                copy_file(source, target, self.workspace.scratch)
            return _tally(SAME, 0)
        if not len(left):
            return _tally(EMPTY, changed)
        if not exists(target):
            write_pages(self.workspace, self.workspace.out, file.name, left)
        return _tally(REWRITTEN, changed)


def _tally(what: str, rows: int) -> Tally:
    tally = Tally()
    tally.add(FILES, detail=what)
    tally.add(FOUND_ROWS, number=rows)
    return tally


def gone_of(workspace: Workspace, file: PlannedFile) -> dict[tuple[str, str], int]:
    """Returns the rows that leave a file's folder: address and reason, and a size if it stays."""
    folder = file.name.rpartition("/")[0]
    gone: dict[tuple[str, str], int] = {}
    for shard in range(file.first, file.end):
        gone |= _gone_rows(gone_path(workspace, shard)).get(folder, {})
    return gone


@functools.lru_cache(maxsize=4)
def _gone_rows(path: str) -> dict[str, dict[tuple[str, str], int]]:
    """Returns the rows that leave each folder; files of one shard follow each other."""
    gone: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for batch in spills.batches(path):
        columns = (batch[name].to_pylist() for name in GONE.names)
        for folder, url, reason, size in zip(*columns, strict=True):
            gone[folder][url, reason] = size
    return gone


def without(table: pa.Table, gone: dict[tuple[str, str], int]) -> tuple[pa.Table, int]:
    """Returns a table without the rows that leave; returns how many leave or get another size."""
    urls = pa.array([url for url, _ in gone], pa.string())
    is_there = pc.is_in(table["url"], value_set=urls)  # pyright: ignore[reportAttributeAccessIssue]
    rows_there = np.flatnonzero(is_there.to_numpy(zero_copy_only=False))
    names = [name for name in ("url", "reason") if name in table.column_names]
    rows = table.select(names).take(rows_there).to_pylist()
    sizes_at = {
        at: gone.get((row["url"], row.get("reason", "")))
        for at, row in zip(rows_there.tolist(), rows, strict=True)
    }
    sizes = {at: size for at, size in sizes_at.items() if size}
    leave = [at for at, size in sizes_at.items() if size == 0]
    keep = np.ones(len(table), dtype=bool)
    keep[leave] = False
    return _with_sizes(table, sizes).filter(pa.array(keep)), len(sizes) + len(leave)


def _with_sizes(table: pa.Table, sizes: dict[int, int]) -> pa.Table:
    if not sizes:
        return table
    values = table["cluster_size"].to_numpy().copy()
    values[list(sizes)] = list(sizes.values())
    at = table.column_names.index("cluster_size")
    return table.set_column(at, table.field(at), pa.array(values, pa.int32()))


@dataclass(frozen=True)
class WriteDelta:
    """Writes a file with the changes of some consecutive shards, in their order."""

    workspace: Workspace
    shards: int

    name = "delta"

    def __call__(self, number: int) -> Tally:
        """Writes one file."""
        shards = (shard for shard in range(self.shards) if file_of(shard) == number)
        paths = (changes_path(self.workspace, shard) for shard in shards)
        batches = (batch for path in paths for batch in spills.batches(path))
        write_table(self.workspace, names(self.shards)[number], batches, SCHEMA)
        return Tally()
