"""The pages that a step reads: those of an earlier step, without the duplicates of an exchange."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.reading import page_table
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.waves import NO_WAVES, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import numbers_of
from pipeline.cleaning.judgement import Judgement, judged
from pipeline.cleaning.spills import spill

SIZES = pa.schema([("row", pa.uint32()), ("size", pa.int32())])


@dataclass(frozen=True)
class SpilledPages:
    """Pages of an earlier step.

    Attributes:
        step: step that spilled the pages.
        duplicates_in: round whose verdicts are the rows of duplicates; none if empty.
        waves: waves of that round.
        reason: reason for which duplicates are rejected.
        sizes_in: round whose verdicts are the sizes of clusters; none if empty.
    """

    step: str
    duplicates_in: str = ""
    waves: Waves = NO_WAVES
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
        return numbers_of(workspace, self.duplicates_in, self.waves, shard).astype(np.int64)

    def _sizes(self, workspace: Workspace, shard: int) -> dict[int, int]:
        if not self.sizes_in:
            return {}
        paths = [one.verdict(workspace, self.sizes_in, shard) for one in self.waves.all()]
        return {
            row: size
            for path in paths
            for batch in spill.batches(path)
            for row, size in zip(batch["row"].to_pylist(), batch["size"].to_pylist(), strict=True)
        }


def _with_sizes(pages: Iterable[Page], first: int, sizes: Mapping[int, int]) -> Iterator[Page]:
    for row, page in enumerate(pages, first):
        yield page._replace(cluster_size=sizes[row]) if row in sizes else page
