"""Spills: Arrow files that steps leave for their own shard, of which single batches can be read.

Pages that passed are one batch per chunk. Kept and rejected pages are in sorted runs for the files
of the corpus: a run is a batch of pages of one group (such as `pages/sw/train`), ordered by the
digests of their addresses, or of their content if they were rejected. A file of the corpus is a
range of digests of one group. Its writer reads only the runs that overlap the range: at most 2 MB
more than it needs per chunk.

Outcomes are what the last rules decided about each page, spilled where the corpus may be added to.
An addition must know what a page had become. The text follows from the verdicts on its lines; the
language does not without asking the identifier again, which is most of the cost of the last step.
"""

import contextlib
import hashlib
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt32
from numpy import ndarray

from data.errors import DataError, is_system_error
from data.files.paths import open_ranges
from data.numbers import is_among
from data.reading import page as page_table
from data.reading.page import REJECTED, WRITTEN_WITH_CLUSTERS, Dropped, NotAsked, Page, Rejected
from data.urls import normalized_hash
from pipeline.beam.workspace import Workspace
from pipeline.corpus.counts import SortedRun, Tally

NUMBERS = pa.schema([("number", pa.uint32())])
MAY_BE_NULL = ("declared_language",)
LONGEST_REASON = 300  # characters of an error, which may quote the file
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@contextlib.contextmanager
def writer(
    workspace: Workspace, path: str, schema: pa.Schema
) -> Iterator[pa.RecordBatchFileWriter]:
    """Yields a writer of a spilled file, which appears when the block ends."""
    with (
        workspace.publish(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as file,
        pa.ipc.new_file(file, schema, options=OPTIONS) as batches,
    ):
        yield batches


@contextlib.contextmanager
def reader(path: str) -> Iterator[pa.RecordBatchFileReader]:
    """Yields a reader of a spilled file.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        with open_ranges(path) as file, pa.ipc.open_file(file) as batches:
            yield batches
    except (OSError, pa.ArrowException) as error:
        missing = isinstance(error, FileNotFoundError)
        if isinstance(error, OSError) and is_system_error(error) and not missing:
            raise
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise DataError(
            f"{path} is missing or damaged ({reason}); restore it, or clean its input again."
        ) from error


def check(path: str, schema: pa.Schema) -> None:
    """Checks that a file is a spilled table of these columns, with a value where one must be.

    Raises:
        DataError: if it is not.
    """
    with reader(path) as file:
        if not file.schema.equals(schema):
            raise pa.ArrowInvalid(f"expected {schema.to_string()}, found {file.schema.to_string()}")
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            batch.validate(full=True)
            for name in schema.names:
                if name not in MAY_BE_NULL and batch[name].null_count:
                    raise pa.ArrowInvalid(f"no value in a row of {name}")


def batches(path: str, numbers: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yields all batches of a file, or those with these numbers."""
    with reader(path) as file:
        for number in range(file.num_record_batches) if numbers is None else numbers:
            yield file.get_batch(number)


def arrow_batch(schema: pa.Schema, columns: Iterable[Any]) -> pa.RecordBatch:
    """Returns a batch of these columns, in the order of the schema."""
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write(workspace: Workspace, path: str, schema: pa.Schema, columns: Iterable[Any]) -> None:
    """Spills a table of one batch."""
    with writer(workspace, path, schema) as file:
        file.write_batch(arrow_batch(schema, columns))


def write_numbers(workspace: Workspace, path: str, numbers: np.ndarray) -> None:
    """Spills numbers of rows or lines."""
    write(workspace, path, NUMBERS, [numbers])


def read_numbers(paths: Iterable[str]) -> UInt32[np.ndarray, " numbers"]:
    """Returns the numbers in these files, sorted together."""
    return np.sort(columns_of(NUMBERS, *paths)["number"])


Columns = Mapping[str, Shaped[np.ndarray, " rows"]]


def columns_of(schema: pa.Schema, *paths: str) -> Columns:
    """Returns the columns of the tables in these files, one after the other."""
    table = pa.Table.from_batches([batch for path in paths for batch in batches(path)], schema)
    return {name: table[name].to_numpy() for name in schema.names}


RUN_BYTES = 2 << 20
RUN_SCHEMA = pa.unify_schemas([WRITTEN_WITH_CLUSTERS, REJECTED]).append(
    pa.field("digest", pa.binary(16))
)


class GroupedPage(NamedTuple):
    """A page as a row of a sorted run: its group, and the digest that orders the group."""

    group: str
    digest: bytes
    values: tuple


def row_of(outcome: Page | Dropped) -> GroupedPage | None:
    """Returns the row of a kept or rejected page; None for a page that was not requested."""
    if isinstance(outcome, Page):
        split = f"/{outcome.split}" if outcome.split else ""
        digest = normalized_hash(outcome.url)
        return GroupedPage(f"pages/{outcome.language}{split}", digest, (*_values(outcome), None))
    if isinstance(outcome, NotAsked):
        return None
    page = outcome.page._replace(language=outcome.page.counted_language)
    # Not ordered by address: all pages of one that a crawl repeats 50,000 times would be one file.
    digest = content_digest(page.url, page.timestamp, page.text)
    return GroupedPage(f"rejected/{page.language}", digest, (*_values(page), outcome.reason))


def content_digest(url: str, timestamp: str, text: str) -> bytes:
    """Returns the digest of a page by what it is: 16 bytes."""
    content = f"{url}\n{timestamp}\n{text}".encode()
    return hashlib.md5(content, usedforsecurity=False).digest()


class SortedRunWriter:
    """Writes runs to one spilled file, and adds each to the tally.

    Of each language's kept pages the tally gets the smallest digests, as many as may be held out.
    """

    def __init__(self, file: pa.RecordBatchFileWriter, name: str, tally: Tally, held_out: int):
        self._file, self._name, self._tally, self._held_out = file, name, tally, held_out
        self._written = 0

    def write(self, pages: Iterable[GroupedPage]) -> None:
        """Writes the pages of a chunk, one run or more per group."""
        groups: dict[str, list[GroupedPage]] = defaultdict(list)
        for page in pages:
            groups[page.group].append(page)
        for group in sorted(groups):
            rows = sorted(groups[group], key=lambda page: page.digest)
            if self._held_out and group.startswith("pages/"):
                self._add_smallest(group.removeprefix("pages/"), rows[: self._held_out])
            for run in _runs(rows):
                self._write(group, run)

    def _add_smallest(self, code: str, rows: Iterable[GroupedPage]) -> None:
        smallest = [*self._tally.smallest.get(code, ()), *(row.digest.hex() for row in rows)]
        self._tally.smallest[code] = sorted(smallest)[: self._held_out]

    def _write(self, group: str, run: list[GroupedPage]) -> None:
        rows = ((*page.values, page.digest) for page in run)
        batch = arrow_batch(RUN_SCHEMA, zip(*rows, strict=True))
        self._file.write_batch(batch)
        first, last = run[0].digest.hex(), run[-1].digest.hex()
        self._tally.runs.append(
            SortedRun(self._name, self._written, group, first, last, len(run), batch.nbytes)
        )
        self._written += 1


@contextlib.contextmanager
def run_writer(
    workspace: Workspace, path: str, tally: Tally, held_out: int = 0
) -> Iterator[SortedRunWriter]:
    """Yields a writer of runs; `held_out` pages of a language may be held out by their digests."""
    with writer(workspace, path, RUN_SCHEMA) as file:
        yield SortedRunWriter(file, workspace.name_of(path), tally, held_out)


def _values(page: Page) -> tuple:
    return (
        page.text, page.url, page.timestamp, page.language, page.language_probability, page.split,
        page.cluster_size,
    )  # fmt: skip


def _runs(pages: list[GroupedPage]) -> Iterator[list[GroupedPage]]:
    run: list[GroupedPage] = []
    size = 0
    for page in pages:
        run.append(page)
        size += len(page.values[0])
        if size >= RUN_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


ROW = "row"
PAGES_SCHEMA = page_table.SCHEMA.append(pa.field(ROW, pa.uint32()))


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
        for page in dropped:
            self.tally.count_outcome(page)
        self.rejected.write(row for page in dropped if (row := row_of(page)))
        self.pages.write_batch(page_table.pages_to_batch(passed).append_column(ROW, pa.array(rows)))


def with_rows(batch: pa.RecordBatch, rows: UInt32[ndarray, " pages"]) -> pa.RecordBatch:
    """Returns the part of a spilled batch that is about pages with these rows, which are sorted."""
    return batch.filter(pa.array(is_among(batch[ROW].to_numpy(), rows)))


@contextlib.contextmanager
def page_spill(workspace: Workspace, step: str, shard: int) -> Iterator[PageSpill]:
    """Yields the spilled files of a step for a shard, which appear when the block ends."""
    tally = Tally()
    with (
        writer(workspace, workspace.spill(step, shard), PAGES_SCHEMA) as pages,
        run_writer(workspace, workspace.spill(step, shard, ".rejected"), tally) as rejected,
    ):
        yield PageSpill(pages, rejected, tally)


OUTCOME_KEPT, OUTCOME_REJECTED, OUTCOME_NOT_ASKED = 0, 1, 2
OUTCOME_SCHEMA = pa.schema(
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
    def of(cls, outcome: Page | Dropped) -> "LastOutcome":
        """Returns the decision."""
        page = outcome if isinstance(outcome, Page) else outcome.page
        kind = (
            OUTCOME_KEPT
            if outcome is page
            else OUTCOME_NOT_ASKED
            if isinstance(outcome, NotAsked)
            else OUTCOME_REJECTED
        )
        reason = outcome.reason if isinstance(outcome, Rejected) else ""
        said = page.identified_language, page.language, page.language_probability
        return cls(kind, reason, *said)

    def again(self, page: Page) -> Page | Dropped:
        """Returns the outcome of the same page, as it was before the last rules."""
        page = page._replace(
            identified_language=self.identified_language,
            language=self.language,
            language_probability=self.language_probability,
        )
        if self.kind == OUTCOME_KEPT:
            return page
        return NotAsked(page) if self.kind == OUTCOME_NOT_ASKED else Rejected(page, self.reason)


class OutcomeWriter:
    """Writes outcomes to a file, if there is one."""

    def __init__(self, file: pa.RecordBatchFileWriter | None):
        self._file = file

    def write(self, outcomes: Iterable[Page | Dropped], rows: np.ndarray) -> None:
        """Writes the outcomes of pages with these rows."""
        if self._file is None:
            return
        values = [LastOutcome.of(outcome) for outcome in outcomes]
        columns = [*zip(*values, strict=True)] or [[] for _ in LastOutcome._fields]
        self._file.write_batch(arrow_batch(OUTCOME_SCHEMA, [rows, *columns]))

    def copy(self, path: str, left_out: np.ndarray) -> None:
        """Writes the outcomes of another file, without those of some rows, which are sorted."""
        assert self._file is not None
        for batch in batches(path):
            stays = ~is_among(batch[ROW].to_numpy(), left_out)
            self._file.write_batch(batch.filter(pa.array(stays)))


@contextlib.contextmanager
def outcome_writer(workspace: Workspace, shard: int, *, spills: bool) -> Iterator[OutcomeWriter]:
    """Yields a writer of a shard's outcomes; it writes nothing unless it spills."""
    if not spills:
        yield OutcomeWriter(None)
        return
    with writer(workspace, outcomes_path(workspace, shard), OUTCOME_SCHEMA) as file:
        yield OutcomeWriter(file)


def outcomes_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's outcomes."""
    return workspace.spill("judge", shard, ".outcomes")


def read_outcomes(path: str, rows: np.ndarray) -> dict[int, LastOutcome]:
    """Returns the outcomes of pages with these rows, which are sorted, of those that have one."""
    outcomes: dict[int, LastOutcome] = {}
    for batch in batches(path):
        numbers, *columns = (column.to_pylist() for column in with_rows(batch, rows).columns)
        outcomes |= dict(
            zip(numbers, map(LastOutcome._make, zip(*columns, strict=True)), strict=True)
        )
    return outcomes
