"""The pages that a step reads: an earlier step's, without those that lost in an exchange."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.reading import page_table
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.judgement import Judgement, judged

SIZES = pa.schema([("row", pa.uint32()), ("size", pa.int32())])


@dataclass(frozen=True)
class Source:
    """Pages of an earlier step.

    Attributes:
        step: step that spilled the pages.
        lost_in: step that spilled the rows of pages that lost, one batch per shard; none if empty.
        partitions: number of partitions of that step.
        reason: reason for which those pages are rejected.
        sizes_in: step that spilled the sizes of clusters, one batch per shard; none if empty.
    """

    step: str
    lost_in: str = ""
    partitions: int = 0
    reason: str = ""
    sizes_in: str = ""

    def chunks(
        self, workspace: Workspace, number: int, judgements: Sequence[Judgement]
    ) -> Iterator[tuple[list[Page], list[Dropped]]]:
        """Yields a shard's pages that pass, and those that do not, chunk by chunk."""
        lost, sizes = self._lost(workspace, number), self._sizes(workspace, number)
        first = 0
        for batch in spill.batches(workspace.spill(self.step, number)):
            is_lost = np.zeros(batch.num_rows, dtype=bool)
            is_lost[lost[slice(*np.searchsorted(lost, [first, first + len(is_lost)]))] - first] = 1
            pages = page_table.pages(batch)
            if sizes:
                pages = _with_sizes(pages, first, sizes)
            first += len(is_lost)
            stay: list[Page] = []
            go: list[Dropped] = []
            for page, gone in zip(pages, is_lost.tolist(), strict=True):
                one = Rejected(page, self.reason) if gone else judged(page, judgements)
                stay.append(one) if isinstance(one, Page) else go.append(one)
            yield stay, go

    def _lost(self, workspace: Workspace, number: int) -> np.ndarray:
        paths = [workspace.spill(self.lost_in, part) for part in range(self.partitions)]
        return spill.read_numbers(paths, number).astype(np.int64)

    def _sizes(self, workspace: Workspace, number: int) -> dict[int, int]:
        if not self.sizes_in:
            return {}
        (batch,) = spill.batches(workspace.spill(self.sizes_in, 0, ".sizes"), [number])
        return dict(zip(batch["row"].to_pylist(), batch["size"].to_pylist(), strict=True))


def _with_sizes(pages: Iterable[Page], first: int, sizes: Mapping[int, int]) -> Iterator[Page]:
    for row, page in enumerate(pages, first):
        yield page._replace(cluster_size=sizes[row]) if row in sizes else page
