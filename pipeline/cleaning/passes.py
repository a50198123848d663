"""Shared by all passes over a shard's pages: spills pages that stay, counts those that do not."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.reading import page_table
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import runs, spill
from pipeline.cleaning.runs import RunWriter
from pipeline.cleaning.tally import Tally


class Pass(NamedTuple):
    """The files of one pass over one shard.

    Attributes:
        pages: pages that stay.
        claims: their claims in the following exchange, one batch per partition and chunk.
        rejected: rejected pages.
        tally: counts of the pass.
    """

    pages: pa.RecordBatchFileWriter
    claims: pa.RecordBatchFileWriter
    rejected: RunWriter
    tally: Tally

    def write(self, stay: Sequence[Page], go: Sequence[Dropped]) -> None:
        """Writes a chunk."""
        for one in go:
            self.tally.count_gone(one)
        self.rejected.write(runs.rejected(one) for one in go if isinstance(one, Rejected))
        self.pages.write_batch(page_table.batch(stay))


@contextlib.contextmanager
def begun(workspace: Workspace, step: str, number: int, claims: pa.Schema) -> Iterator[Pass]:
    """Yields the files of a pass, which appear when the block ends."""
    tally = Tally()
    with (
        spill.writer(workspace, workspace.spill(step, number), page_table.SCHEMA) as pages,
        spill.writer(workspace, claims_of(workspace, step, number), claims) as claimed,
        runs.writer(workspace, workspace.spill(step, number, ".rejected"), tally) as rejected,
    ):
        yield Pass(pages, claimed, rejected, tally)


def claims_to(
    workspace: Workspace, step: str, shards: int, batches: tuple[int, int], form: np.dtype
) -> np.ndarray:
    """Returns the claims of all shards in one array, each with the shard that it comes from.

    Args:
        workspace: workspace of the run.
        step: step that wrote the claims.
        shards: number of shards.
        batches: first batch of each file, and number of batches per chunk.
        form: dtype with the file's columns and `shard`.
    """
    parts = [np.empty(0, form)]
    for shard in range(shards):
        for batch in spill.every(claims_of(workspace, step, shard), *batches):
            part = np.empty(batch.num_rows, form)
            for name in batch.schema.names:
                part[name] = batch[name].to_numpy()
            part["shard"] = shard
            parts.append(part)
    return np.concatenate(parts)


def claims_of(workspace: Workspace, step: str, number: int) -> str:
    """Returns the path of the claims of a shard's pages in a pass."""
    return workspace.spill(step, number, ".claims")
