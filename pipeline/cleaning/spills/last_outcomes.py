"""What the last rules decided about each page that reached them, for a later addition.

An addition must know what a page had become. The text follows from the verdicts on its lines; the
language does not without asking the identifier again, which is most of the cost of the last step.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.numbers import is_among
from data.reading.page import Dropped, NotAsked, Page, Rejected
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import ROW, with_rows

KEPT, REJECTED, NOT_ASKED = 0, 1, 2
SCHEMA = pa.schema(
    [
        (ROW, pa.uint32()),
        ("kind", pa.int8()),
        ("reason", pa.string()),
        ("identified_language", pa.string()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
    ]
)


class LastOutcome(NamedTuple):
    """What the last rules made of a page.

    Attributes:
        kind: KEPT, REJECTED or NOT_ASKED.
        reason: reason for which it is rejected, or "".
        identified_language, language, language_probability: as in `Page`.
    """

    kind: int
    reason: str
    identified_language: str
    language: str
    language_probability: float

    @classmethod
    def of(cls, one: Page | Dropped) -> "LastOutcome":
        """Returns what was decided."""
        page = one if isinstance(one, Page) else one.page
        kind = KEPT if one is page else NOT_ASKED if isinstance(one, NotAsked) else REJECTED
        reason = one.reason if isinstance(one, Rejected) else ""
        said = page.identified_language, page.language, page.language_probability
        return cls(kind, reason, *said)

    def again(self, page: Page) -> Page | Dropped:
        """Returns the outcome of the same page, as it was before the last rules."""
        page = page._replace(
            identified_language=self.identified_language,
            language=self.language,
            language_probability=self.language_probability,
        )
        if self.kind == KEPT:
            return page
        return NotAsked(page) if self.kind == NOT_ASKED else Rejected(page, self.reason)


class OutcomeWriter:
    """Writes outcomes to a file, if there is one."""

    def __init__(self, file: pa.RecordBatchFileWriter | None):
        self._file = file

    def write(self, outcomes: Iterable[Page | Dropped], rows: np.ndarray) -> None:
        """Writes the outcomes of pages with these rows."""
        if self._file is None:
            return
        values = [LastOutcome.of(one) for one in outcomes]
        columns = [*zip(*values, strict=True)] or [[] for _ in LastOutcome._fields]
        self._file.write_batch(spill.batch(SCHEMA, [rows, *columns]))

    def copy(self, path: str, left_out: np.ndarray) -> None:
        """Writes the outcomes of another file, without those of some rows, which are sorted."""
        assert self._file is not None
        for batch in spill.batches(path):
            stays = ~is_among(batch[ROW].to_numpy(), left_out)
            self._file.write_batch(batch.filter(pa.array(stays)))


@contextlib.contextmanager
def writer(workspace: Workspace, shard: int, *, spills: bool) -> Iterator[OutcomeWriter]:
    """Yields a writer of a shard's outcomes; it writes nothing unless it spills."""
    if not spills:
        yield OutcomeWriter(None)
        return
    with spill.writer(workspace, path_of(workspace, shard), SCHEMA) as file:
        yield OutcomeWriter(file)


def path_of(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's outcomes."""
    return workspace.spill("judge", shard, ".outcomes")


def read(path: str, rows: np.ndarray) -> dict[int, LastOutcome]:
    """Returns the outcomes of pages with these rows, which are sorted, of those that have one."""
    found: dict[int, LastOutcome] = {}
    for batch in spill.batches(path):
        numbers, *columns = (column.to_pylist() for column in with_rows(batch, rows).columns)
        found |= dict(zip(numbers, map(LastOutcome._make, zip(*columns, strict=True)), strict=True))
    return found
