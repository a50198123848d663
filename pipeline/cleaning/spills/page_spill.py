"""What a step spills for one shard: pages that passed, rejected pages, and counts."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from jaxtyping import UInt32
from numpy import ndarray

from data.numbers import is_among
from data.reading import page
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import identification_time
from pipeline.cleaning.spills import sorted_runs, spill
from pipeline.cleaning.spills.sorted_runs import SortedRunWriter
from pipeline.cleaning.tally import Tally

ROW = "row"
SCHEMA = page.SCHEMA.append(pa.field(ROW, pa.uint32()))


class PageSpill(NamedTuple):
    """The spilled files of one step for one shard.

    Attributes:
        pages: pages that passed, each with the row it was read as; one batch per chunk.
        rejected: rejected pages.
        tally: counts of the work item.
    """

    pages: pa.RecordBatchFileWriter
    rejected: SortedRunWriter
    tally: Tally

    def write(
        self, passed: Sequence[Page], dropped: Sequence[Dropped], rows: UInt32[ndarray, " passed"]
    ) -> None:
        """Writes a chunk.

        Args:
            passed: pages that passed.
            dropped: the others.
            rows: number of each page that passed within its shard, as it was read.
        """
        for one in dropped:
            self.tally.count_dropped(one)
        rejected = (one for one in dropped if isinstance(one, Rejected))
        self.rejected.write(map(sorted_runs.rejected, rejected))
        self.pages.write_batch(page.batch(passed).append_column(ROW, pa.array(rows)))


def with_rows(batch: pa.RecordBatch, rows: UInt32[ndarray, " pages"]) -> pa.RecordBatch:
    """Returns the part of a spilled batch that is about pages with these rows, which are sorted."""
    return batch.filter(pa.array(is_among(batch[ROW].to_numpy(), rows)))


@contextlib.contextmanager
def page_spill(workspace: Workspace, step: str, shard: int) -> Iterator[PageSpill]:
    """Yields the spilled files of a step for a shard, which appear when the block ends."""
    tally = Tally()
    with (
        identification_time.counted_in(tally),
        spill.writer(workspace, workspace.spill(step, shard), SCHEMA) as pages,
        sorted_runs.writer(workspace, workspace.spill(step, shard, ".rejected"), tally) as rejected,
    ):
        yield PageSpill(pages, rejected, tally)
