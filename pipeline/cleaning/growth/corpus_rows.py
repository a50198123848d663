"""Rows of the corpus's files that a judgement changes: those that leave, and those that come.

A page on which a verdict has changed has an outcome before the addition and one after it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from data.reading.page import Dropped, NotAsked, Page
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.growth import delta
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.spills import sorted_runs, spill
from pipeline.cleaning.spills.sorted_runs import GroupedPage, SortedRunWriter
from pipeline.cleaning.tally import Tally
from pipeline.corpus.all_files import PAGES, REJECTED

GONE_ROWS = "gone_rows"  # kind of count: rows of the corpus's files that a judgement changes
GONE = pa.schema(
    [("folder", pa.string()), ("url", pa.string()), ("reason", pa.string()), ("size", pa.int32())]
)


class Gone(NamedTuple):
    """A row that leaves a file of the corpus, or changes there.

    Attributes:
        folder: folder of the file.
        url: address of the page.
        reason: why it is rejected; "" for a kept page.
        size: number of near-duplicates that the row stands for from now on; 0 if it leaves.
    """

    folder: str
    url: str
    reason: str
    size: int


class Outcomes(NamedTuple):
    """The outcome of a page before and after the addition."""

    was: Page | Dropped
    now: Page | Dropped


def _row(one: Page | Dropped) -> GroupedPage | None:
    """Returns the row of an outcome in the corpus; None if it has none."""
    if isinstance(one, NotAsked):
        return None
    return sorted_runs.kept(one) if isinstance(one, Page) else sorted_runs.rejected(one)


def new_row(both: Outcomes) -> GroupedPage | None:
    """Returns the row to write for a page, unless the corpus has it, or has it but for its size."""
    return None if _row(both.was) == _row(both.now) or _resized(both) else _row(both.now)


def gone_rows(both: Outcomes) -> Iterator[Gone]:
    """Yields the row of the corpus that a page loses, or that has another size."""
    was, now = both
    if isinstance(was, NotAsked) or _row(was) == _row(now):
        return
    if isinstance(was, Page):
        size = now.cluster_size if isinstance(now, Page) and _resized(both) else 0
        yield Gone(f"{PAGES}/{was.language}", was.url, "", size)
    else:
        yield Gone(f"{REJECTED}/{was.page.counted_language}", was.page.url, was.reason, 0)


def _resized(both: Outcomes) -> bool:
    """Returns whether a page is kept as it was, but stands for another number of pages."""
    was, now = both
    if not isinstance(was, Page) or not isinstance(now, Page):
        return False
    return _row(was) == _row(now._replace(cluster_size=was.cluster_size))


def gone_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the rows that leave files of the corpus."""
    return workspace.spill(JudgePages.step, shard, ".gone")


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

    def write(self, pairs: Sequence[Outcomes]) -> list[GroupedPage]:
        """Writes what a chunk changes; returns the rows to write."""
        new = [row for both in pairs if (row := new_row(both))]
        self.new.write(new)
        gone = [one for both in pairs for one in gone_rows(both)]
        self.gone.write_batch(spill.batch(GONE, zip(*gone, strict=True) if gone else [[]] * 4))
        changes = [one for both in pairs for one in delta.changes(*both)]
        self.delta.write_batch(delta.batch(changes))
        delta.count(self.tally, changes)
        self.tally.counts[GONE_ROWS, "", ""] += len(gone)
        return new


@contextlib.contextmanager
def row_changes(workspace: Workspace, shard: int, tally: Tally) -> Iterator[RowChanges]:
    """Yields the spilled files of a shard's changed rows, which appear when the block ends."""
    new = workspace.spill(JudgePages.step, shard)
    with (
        sorted_runs.writer(workspace, new, tally) as new_file,
        spill.writer(workspace, gone_path(workspace, shard), GONE) as gone_file,
        spill.writer(workspace, delta.spilled(workspace, shard), delta.SCHEMA) as delta_file,
    ):
        yield RowChanges(new_file, gone_file, delta_file, tally)
