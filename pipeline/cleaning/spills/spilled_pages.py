"""The pages that a step reads: those of an earlier step, without the duplicates of an exchange."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32

from data.numbers import is_among
from data.reading import page as page_table
from data.reading.page import Dropped, Page, Rejected
from pipeline.beam.waves import NO_WAVES, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import numbers_of
from pipeline.cleaning.judgement import Judgement, judged
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW

Rows = UInt32[np.ndarray, " pages"]  # of pages within their shard, as they were read
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
    ) -> Iterator[tuple[list[Page], list[Dropped], Rows]]:
        """Yields per chunk the pages that pass, those that are dropped, and the former's rows."""
        duplicates, sizes = self._duplicates(workspace, shard), self._sizes(workspace, shard)
        for batch in spill.batches(workspace.spill(self.step, shard)):
            rows = batch[ROW].to_numpy()
            pages = page_table.pages(batch)
            if sizes:
                pages = _with_sizes(pages, rows, sizes)
            passed: list[Page] = []
            dropped: list[Dropped] = []
            passes = np.zeros(len(rows), dtype=bool)
            is_duplicate = is_among(rows, duplicates).tolist()
            for at, (page, duplicate) in enumerate(zip(pages, is_duplicate, strict=True)):
                one = Rejected(page, self.reason) if duplicate else judged(page, judgements)
                passes[at] = isinstance(one, Page)
                passed.append(one) if isinstance(one, Page) else dropped.append(one)
            yield passed, dropped, rows[passes]

    def _duplicates(self, workspace: Workspace, shard: int) -> np.ndarray:
        return numbers_of(workspace, self.duplicates_in, self.waves, shard)

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


def _with_sizes(pages: Iterable[Page], rows: Rows, sizes: Mapping[int, int]) -> Iterator[Page]:
    for row, page in zip(rows.tolist(), pages, strict=True):
        yield page._replace(cluster_size=sizes[row]) if row in sizes else page
