"""Records with named fields: the lines of JSON Lines and the rows of Parquet, as pages.

**Fields.** A record needs `text`; it may have `url`, `timestamp`, `language` (or `lang`) and
`split`; others are ignored. A timestamp is text, or a date or time of Parquet; one of another type
makes a record broken. A record of a test split is set aside: it is neither trained on nor
evaluated. Any other unknown split is ignored. A page without an address, or with an empty one, has
the digest of its text as one, so equal texts are one page and lie in one split. Text with a lone
surrogate (possible in JSON, not in UTF-8) is broken like invalid UTF-8 in an archive.

**File names.** Pages of published C4 and mC4 have only text, url and timestamp, so language and
split are in the name alone, which supplies what a record lacks:

    c4-sw.tfrecord-00003-of-00010.json.gz               mC4, Swahili, train
    c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz   mC4, Chinese in Latin script, validation
    c4-und.tfrecord-00000-of-01024.json.gz              mC4, undetermined language
    c4-validation.00000-of-00008.json.gz                C4, which is English
    train-00000-of-00002.parquet                        no language, but a split

**Text files.** The first bytes of a file determine whether it is compressed, not its name. A
truncated or damaged gzip file yields the lines before the damage and one broken record. A line is
held only up to the longest possible page, however far a small file decompresses.

**JSON Lines.** Each line is one object. Any other line is a `BrokenRecord`, with its offset in
bytes of the uncompressed stream. A line of 32 MB may hold millions of objects, each of 50 times its
bytes, so they are counted first.

**Parquet.** Rows are read in batches of at most 64 MB as declared, so memory does not grow with the
file. A column of lists or structures is not read: a few kilobytes of equal numbers decode to
gigabytes. A truncated file has no footer and is one broken record; damage inside a file loses the
rows from there on. A value that Python cannot have loses its row alone. Offsets are row numbers.
Times of nanoseconds lose what is below a microsecond, which Python's times lack. A value has the
limit of a JSON line; all values of a file together have that of `parquet_files`.
"""

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from data.errors import is_system_error
from data.files.parquet_files import FREE_BYTES, NUMBER_BYTES, open_parquet, text_bytes
from data.languages import declared_language, unlisted_declaration
from data.reading.page import BrokenRecord, Page, cut_to_nothing, is_timestamp

MC4 = re.compile(
    r"c4-(?P<language>[a-z]{2,3}(-Latn)?)(?P<validation>-validation)?\.tfrecord-\d+-of-\d+\."
)
C4 = re.compile(r"c4-(?P<split>train|validation)\.\d+-of-\d+\.")
# Hugging Face's `datasets` once wrote 16 digits of a digest behind the numbers.
SHARD = re.compile(r"(?P<split>train|validation|test)-\d+-of-\d+(-[0-9a-f]{16})?\.")
TEST = "test"
SPLITS = {split: split for split in ("train", "validation", TEST)} | {
    "training": "train",
    **dict.fromkeys(("valid", "val", "dev", "development"), "validation"),
    "testing": TEST,
}
GZIP = b"\x1f\x8b"
LONGEST_LINE_BYTES = 32 << 20  # 190,000 characters are at most 2.3 MB, if all are escaped
MOST_VALUES = 500_000  # at most 130 bytes each, so 64 MB
MARKS = (b"{", b"[", b",")  # one before each value but the first
# Possessive, and to the end of the line if no quote ends it: the time is that of reading the line.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
JSON_LINES_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
PARQUET_SUFFIXES = (".parquet",)
FIELDS = ("text", "url", "timestamp", "lang", "language", "language_script", "split")
BATCH_ROWS = 256
PLAIN = (
    *(pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string, pa.types.is_binary),
    *(pa.types.is_temporal, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean),
    pa.types.is_null,
)
# Raised by text that is not UTF-8, and by years and time zones that Python lacks.
UNPRINTABLE = (ArithmeticError, LookupError, ValueError)
LARGEST_VALUE_BYTES = 32 << 20  # as of a JSON line


class Published(NamedTuple):
    """Language and split of a file; None and "" where its name has none."""

    language: str | None = None
    split: str = ""


class Line(NamedTuple):
    """A line that is not blank.

    Attributes:
        offset: offset in bytes of the uncompressed stream.
        content: bytes of the line.
    """

    offset: int
    content: bytes


class JsonValue(NamedTuple):
    """The value of a line, which is JSON of any shape.

    Attributes:
        offset: offset in bytes of the uncompressed stream.
        value: the value.
        size: number of bytes of the line.
    """

    offset: int
    value: Any
    size: int


def read_json_lines(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per line."""
    published = published_as(path.name)
    for row in values(path):
        if isinstance(row, BrokenRecord):
            yield row
        else:
            yield _page_or_defect(path, row.offset, row.value, published, row.size)


def values(path: Path) -> Iterator[JsonValue | BrokenRecord]:
    """Yields the value of each line, or a broken record."""
    for line in read_lines(path):
        yield line if isinstance(line, BrokenRecord) else _value(path, line)


def _value(path: Path, line: Line) -> JsonValue | BrokenRecord:
    size = len(line.content)
    if _has_too_many_values(line.content):
        return BrokenRecord.at(path, line.offset, "too_many_values", size=size)
    try:
        # Some programs begin a file with a byte-order mark.
        content = line.content.removeprefix(codecs.BOM_UTF8)
        return JsonValue(line.offset, json.loads(content.decode("utf-8")), size)
    except UnicodeDecodeError as error:
        return BrokenRecord.at(path, line.offset, "invalid_utf8", str(error), size)
    except (ValueError, RecursionError) as error:
        return BrokenRecord.at(path, line.offset, "not_json", str(error), size)


def _has_too_many_values(content: bytes) -> bool:
    """Returns whether a line has more values than memory is kept for; marks in texts are none."""
    if sum(map(content.count, MARKS)) <= MOST_VALUES:
        return False
    return sum(map(STRING.sub(b"", content).count, MARKS)) > MOST_VALUES


def read_lines(path: Path) -> Iterator[Line | BrokenRecord]:
    """Yields each line that is not blank; a broken record where one is too long, and at damage."""
    yield from cut_to_nothing(path)
    offset = 0
    with _open_unzipped(path) as stream:
        try:
            while line := stream.readline(LONGEST_LINE_BYTES):
                begin, offset = offset, offset + len(line)
                if not line.endswith(b"\n") and len(line) == LONGEST_LINE_BYTES:
                    offset += _skip_line(stream)
                    yield BrokenRecord.at(path, begin, "too_large", size=offset - begin)
                elif line.strip():
                    yield Line(begin, line)
        except EOFError as error:
            yield BrokenRecord.at(path, offset, "truncated", str(error))
        except (OSError, zlib.error) as error:
            if isinstance(error, OSError) and is_system_error(error):
                raise
            yield BrokenRecord.at(path, offset, "unreadable", str(error))


def _open_unzipped(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_compressed = file.read(len(GZIP)) == GZIP
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # pyright: ignore[reportReturnType]


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while part := stream.readline(1 << 20):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def read_parquet(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per row."""
    row = 0
    try:
        for page in _rows(path):
            row = page.offset + 1 if isinstance(page, BrokenRecord) else row + 1
            yield page
    except (OSError, pa.ArrowException, *UNPRINTABLE) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        yield BrokenRecord.at(path, row, "unreadable", str(error))


def _rows(path: Path) -> Iterator[Page | BrokenRecord]:
    published, row = published_as(path.name), 0
    with open_parquet(path, FIELDS) as (file, left):
        columns, unread = _columns(file.schema_arrow)
        for group in range(file.metadata.num_row_groups):
            # A column's metadata would be exact, but Arrow aborts the process where it is damaged.
            declared = file.metadata.row_group(group)
            if declared.total_byte_size > left:
                detail = f"{declared.num_rows:,} rows"
                yield BrokenRecord.at(path, row, "too_large", detail, declared.total_byte_size)
                row += declared.num_rows
                continue
            rows = _batch_rows(declared)
            for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
                sizes = text_bytes(batch)
                records = _records(in_microseconds(batch), sum(sizes))
                for record, size in zip(records, sizes, strict=True):
                    left -= size + NUMBER_BYTES * batch.num_columns
                    if left < 0:
                        detail = "and all rows after it"
                        yield BrokenRecord.at(path, row, "too_large", detail, size)
                        return
                    if isinstance(record, str):
                        yield BrokenRecord.at(path, row, record, size=size)
                    elif size > LARGEST_VALUE_BYTES:
                        yield BrokenRecord.at(path, row, "too_large", size=size)
                    else:
                        yield _page_or_defect(path, row, record | unread, published, size)
                    row += 1


def _columns(schema: pa.Schema) -> tuple[list[str], dict[str, Any]]:
    """Returns the columns to read, and a value of a wrong type for each that is not.

    Of two columns of one name Arrow would read both, whatever their types.
    """
    names = [name for name in dict.fromkeys(schema.names) if name in FIELDS]
    plain = [
        name
        for name in names
        if schema.names.count(name) == 1
        and any(is_plain(schema.field(name).type) for is_plain in PLAIN)
    ]
    return plain, dict.fromkeys(set(names) - set(plain), 0)


def _batch_rows(group: Any) -> int:
    """Returns how many rows of a row group are decoded at once."""
    rows = FREE_BYTES * group.num_rows // max(group.total_byte_size, 1)
    return max(1, min(rows, BATCH_ROWS))


def in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a batch with times of microseconds.

    To make Python's times of nanoseconds Arrow needs pandas, which workers may lack.
    """
    schema = batch.schema
    for place, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            schema = schema.set(place, field.with_type(pa.timestamp("us", field.type.tz)))
    return batch if schema == batch.schema else batch.cast(schema, safe=False)


def _records(batch: pa.RecordBatch, size: int) -> Iterator[dict[str, Any] | str]:
    """Yields the rows, or the defect of one that has a value which Python cannot have.

    Those of a large batch are made one by one, as a shared value is copied for each.
    """
    if size <= FREE_BYTES:
        try:
            yield from batch.to_pylist()
            return
        except UNPRINTABLE:
            pass
    for row in range(batch.num_rows):
        try:
            (record,) = batch.slice(row, 1).to_pylist()
        except UNPRINTABLE as error:
            if isinstance(error, pa.ArrowException):  # some are ValueErrors: damage, and no value
                raise
            is_text = isinstance(error, UnicodeDecodeError)
            record = "invalid_utf8" if is_text else "invalid_timestamp"
        yield record


def published_as(name: str) -> Published:
    """Returns the language and the split in the name of a file."""
    if match := MC4.match(name):
        split = "validation" if match["validation"] else "train"
        return Published(declared_language(match["language"]), split)
    if match := C4.match(name):
        return Published("en", match["split"])
    if match := SHARD.match(name):
        return Published(None, match["split"])
    return Published()


def is_published_for_validation(path: str) -> bool:
    """Returns whether a file has the name of published text that is held out."""
    return published_as(PurePosixPath(path).name).split == "validation"


def is_named_as_a_test(path: str) -> bool:
    """Returns whether a file or its folder is named as a split that is not for training.

    Such names say too little to set pages aside: `test/` may hold anything.
    """
    folder, name = PurePosixPath(path).parts[-2:] if "/" in path else ("", path)
    words = folder.lower(), name.lower().partition(".")[0]
    return not published_as(name).split and any(
        SPLITS.get(word, "train") != "train" for word in words
    )


def _page_or_defect(
    path: Path, offset: int, record: Any, published: Published, size: int
) -> Page | BrokenRecord:
    reason = defect_of(record, published)
    if reason is not None:
        return BrokenRecord.at(path, offset, reason, size=size)
    return page_of(record, published)


def defect_of(record: Any, published: Published) -> str | None:
    """Returns the reason why a record is not a page, or None."""
    if not isinstance(record, Mapping):
        return "not_an_object"
    for field in ("text", "url"):
        value = record.get(field)
        if field == "url" and value in (None, ""):
            continue
        if not isinstance(value, str) or not value.strip():
            return f"no_{field}"
        if not _is_unicode(value):
            return "invalid_utf8"
    timestamp = record.get("timestamp")
    if not isinstance(timestamp, str | date | None):
        return "invalid_timestamp"  # a number may count seconds or milliseconds
    text = _string(timestamp)
    if text and not is_timestamp(text):
        return "invalid_timestamp"
    return "test_split" if _split(record, published) == TEST else None


def page_of(record: Mapping[str, Any], published: Published) -> Page:
    """Returns the page of a record without a defect."""
    language = _string(record.get("lang") or record.get("language"))
    script = _string(record.get("language_script"))
    return Page(
        url=record.get("url") or address_of(record["text"]),
        text=record["text"],
        timestamp=_string(record.get("timestamp")),
        declared_language=declared_language(language, script) or published.language,
        split=_split(record, published),
        declaration=unlisted_declaration(language),
    )


def address_of(text: str) -> str:
    """Returns the address of a page that was published without one."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()[:32]}"


def _split(record: Mapping[str, Any], published: Published) -> str:
    return SPLITS.get(_string(record.get("split")).strip().lower(), published.split)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _string(value: Any) -> str:
    if isinstance(value, date):  # or a datetime, which is one
        return value.isoformat()
    return value if isinstance(value, str) else ""
