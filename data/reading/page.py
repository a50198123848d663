"""A web page during cleaning: its fields, reasons and times, and pages as Arrow record batches.

A rule is a pure function `Page -> reason | None`. A rejected page keeps its text and has a reason.
Reasons are stable snake_case names, as manifests and reports count them. What is not a page is a
broken record, with its place.

Times. WARC 1.0 writes `2026-01-31T12:00:00Z`; 1.1 allows fewer parts and fractions of a second
(W3C's profile of ISO 8601, ISO 28500:2017, annex B). Published corpora also write a blank for the
T, an offset for the Z, or neither. Text that is not a date of the calendar would still sort after
every year, so that it would win against the real dates of the same address.

Batches carry pages between the steps of cleaning: `batch_to_pages(pages_to_batch(pages))` yields
the same pages, without their declarations, which the first step counts. `WRITTEN` has the columns
of a finished corpus, in order, `REJECTED` those of rejected pages, and `BROKEN` those of broken
records. No value of these is missing.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from data.errors import concerns_one_page
from data.languages import UNDETERMINED

LONGEST_DETAIL = 200  # characters; a reader's message may quote a header of a megabyte
LONGEST_TIMESTAMP = 40  # characters
TIMESTAMP = re.compile(
    r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d([.]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("text", pa.large_string()),  # a batch may hold more than 2 GB of text
        ("timestamp", pa.string()),
        ("declared_language", pa.string()),
        ("removed_lines", pa.map_(pa.string(), pa.int64())),
        ("identified_language", pa.string()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
        ("split", pa.string()),
        ("cluster_size", pa.int32()),
    ]
)
WRITTEN = pa.schema(
    [
        ("text", pa.string()),
        ("url", pa.string()),
        ("timestamp", pa.string()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
        ("split", pa.string()),
    ]
)
WRITTEN_WITH_CLUSTERS = WRITTEN.append(pa.field("cluster_size", pa.int32()))
REJECTED = WRITTEN.append(pa.field("reason", pa.string()))
BROKEN = pa.schema(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),  # see BrokenRecord
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
RANGES = {"language_probability": (0, 1), "cluster_size": (1, 2**31 - 1)}


class Page(NamedTuple):
    """One page; immutable, so that a rule cannot change the input of the next one.

    Attributes:
        url: address in the archive.
        text: plain text, one paragraph per line.
        timestamp: time of the crawl, as written in the archive.
        declared_language: mC4 code of the archive's declaration, or None.
        removed_lines: number of lines removed per line rule, as (rule, lines) pairs;
            "duplicate_line" counts lines kept in another page or earlier in this one.
        identified_language: the identifier's prediction, "und" below the threshold, "" before
            identification.
        language: mC4 code of the page, "und", or "" before it is decided.
        language_probability: the identifier's probability of `language`; 0 before identification,
            and if the identifier predicts another language.
        split: "train", "validation", or "" while undecided.
        cluster_size: number of near-duplicates that the page represents, itself included; 1 under
            rules without near-duplicate detection.
        declaration: the archive's own words for the language, if they are not in the table of
            languages; "" otherwise.
    """

    url: str
    text: str
    timestamp: str = ""
    declared_language: str | None = None
    removed_lines: tuple[tuple[str, int], ...] = ()
    identified_language: str = ""
    language: str = ""
    language_probability: float = 0.0
    split: str = ""
    cluster_size: int = 1
    declaration: str = ""

    @property
    def counted_language(self) -> str:
        """Language under which the page is counted, even if it is rejected before the decision."""
        return self.language or self.declared_language or UNDETERMINED


class Rejected(NamedTuple):
    """A page that a rule rejects, with the reason."""

    page: Page
    reason: str


class NotAsked(NamedTuple):
    """A page of a language that the user did not ask for; it is counted but not written."""

    page: Page


Dropped = Rejected | NotAsked


class BrokenRecord(NamedTuple):
    """A part of an input file that cannot be read as a page.

    Attributes:
        file: name of the file and of its folder, as corpora have one `udhr.jsonl.gz` per language.
        offset: offset of the record or of the damage: in bytes of an archive on disk, in bytes of
            the uncompressed JSON lines, in rows of Parquet.
        reason: kind of damage, a stable name.
        detail: beginning of the reader's message.
        size: number of uncompressed bytes; 0 where it is not known. It is counted and in no table.
    """

    file: str
    offset: int
    reason: str
    detail: str = ""
    size: int = 0

    @classmethod
    def at(
        cls, path: Path, offset: int, reason: str, detail: str = "", size: int = 0
    ) -> "BrokenRecord":
        """Returns the broken record of a file and offset."""
        return cls("/".join(path.parts[-2:]), offset, reason, detail[:LONGEST_DETAIL], size)


def cut_to_nothing(path: Path) -> Iterator[BrokenRecord]:
    """Yields a broken record for a gzip file of no bytes, as none is written."""
    if path.suffix == ".gz" and path.stat().st_size == 0:
        yield BrokenRecord.at(path, 0, "truncated", "the file has no bytes")


class Defect(NamedTuple):
    """Why a complete record is not a page."""

    reason: str
    detail: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Defect":
        """Returns the defect of a page on which a parser failed; raises what concerns the job."""
        if not concerns_one_page(error):
            raise error
        return cls("unreadable_page", f"{type(error).__name__}: {error}")


Rule = Callable[[Page], str | None]


def is_timestamp(text: str) -> bool:
    """Returns whether the text is a date of the calendar, with or without a time of day."""
    return _time(text) is not None


def sortable(text: str) -> str:
    """Returns a time in UTC as text that sorts by time; "" if it is none, or outside the calendar.

    A time without an offset counts as UTC, a date without a time of day as its first moment.
    """
    time = _time(text)
    if time is None:
        return ""
    try:
        in_utc = time.astimezone(UTC) if time.tzinfo else time
    except OverflowError:
        return ""
    return in_utc.replace(tzinfo=None).isoformat(timespec="microseconds")


def _time(text: str) -> datetime | None:
    if len(text) > LONGEST_TIMESTAMP or not TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text + "-01-01"[: 10 - len(text)] if len(text) < 10 else text)
    except ValueError:
        return None


def pages_to_batch(pages: Sequence[Page]) -> pa.RecordBatch:
    """Returns the pages as one batch, one row per page."""
    return pa.RecordBatch.from_pylist([page._asdict() for page in pages], SCHEMA)


def batch_to_pages(batch: pa.RecordBatch) -> Iterable[Page]:
    """Returns the pages of a batch, in order; other columns of it are ignored."""
    columns = [batch[name].to_pylist() for name in SCHEMA.names]
    removed = SCHEMA.get_field_index("removed_lines")
    columns[removed] = [tuple(rules) for rules in columns[removed]]
    return itertools.starmap(Page, zip(*columns, strict=True))
