"""The pages that a step reads: those of an earlier step, without duplicates from an exchange."""

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
class SpilledPages:
    """Pages of an earlier step.

    Attributes:
        step: step that spilled the pages.
        duplicates_in: step that spilled the rows of duplicates, one batch per shard; none if empty.
        partitions: number of partitions of that step.
        reason: reason for which duplicates are rejected.
        sizes_in: step that spilled the sizes of clusters, one batch per shard; none if empty.
    """

    step: str
    duplicates_in: str = ""
    partitions: int = 0
    reason: str = ""
    sizes_in: str = ""

    def chunks(
        self, workspace: Workspace, shard: int, judgements: Sequence[Judgement]
    ) -> Iterator[tuple[list[Page], list[Dropped]]]:
        """Yields, chunk by chunk, a shard's pages that pass and those that are dropped."""
        duplicates, sizes = self._duplicates(workspace, shard), self._sizes(workspace, shard)
        first = 0
        for batch in spill.batches(workspace.spill(self.step, shard)):
            end = first + batch.num_rows
            is_duplicate = np.zeros(batch.num_rows, dtype=bool)
            begin, stop = np.searchsorted(duplicates, [first, end])
            is_duplicate[duplicates[begin:stop] - first] = True
            pages = page_table.pages(batch)
            if sizes:
                pages = _with_sizes(pages, first, sizes)
            first = end
            passed: list[Page] = []
            dropped: list[Dropped] = []
            for page, duplicate in zip(pages, is_duplicate.tolist(), strict=True):
                one = Rejected(page, self.reason) if duplicate else judged(page, judgements)
                passed.append(one) if isinstance(one, Page) else dropped.append(one)
            yield passed, dropped

    def _duplicates(self, workspace: Workspace, shard: int) -> np.ndarray:
        paths = [workspace.spill(self.duplicates_in, number) for number in range(self.partitions)]
        return spill.read_numbers(paths, shard).astype(np.int64)

    def _sizes(self, workspace: Workspace, shard: int) -> dict[int, int]:
        if not self.sizes_in:
            return {}
        (batch,) = spill.batches(workspace.spill(self.sizes_in, 0, ".sizes"), [shard])
        return dict(zip(batch["row"].to_pylist(), batch["size"].to_pylist(), strict=True))


def _with_sizes(pages: Iterable[Page], first: int, sizes: Mapping[int, int]) -> Iterator[Page]:
    for row, page in enumerate(pages, first):
        yield page._replace(cluster_size=sizes[row]) if row in sizes else page
