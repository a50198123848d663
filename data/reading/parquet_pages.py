"""Reads pages from Parquet files: published corpora, and the output of `mswitch clean`.

Each row is a record with the fields of `page_record`. Rows are read in batches of at most 64 MB as
declared, so memory does not grow with the file. A column of lists or structures is not read: a few
kilobytes of equal numbers decode to gigabytes. A truncated Parquet file has no footer and is one
broken record; damage inside a file loses the rows from there on. A value that Python cannot have
loses its row alone. Offsets are row numbers. Times of nanoseconds lose what is below a microsecond,
which Python's times lack.

A value has the limit of a JSON line; all values of a file together have that of `parquet_files`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import is_system_error
from data.reading.page import BrokenRecord, Page
from data.reading.page_record import defect_of, page_of
from data.reading.published_names import Published, published_as
from data.stores.parquet_files import FREE_BYTES, NUMBER_BYTES, opened, text_bytes

SUFFIXES = (".parquet",)

FIELDS = ("text", "url", "timestamp", "lang", "language", "split")
BATCH_ROWS = 256
PLAIN = (
    *(pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string, pa.types.is_binary),
    *(pa.types.is_temporal, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean),
    pa.types.is_null,
)
# Raised by text that is not UTF-8, and by years and time zones that Python lacks.
UNPRINTABLE = (ArithmeticError, LookupError, ValueError)
LARGEST_VALUE_BYTES = 32 << 20  # as of a JSON line


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per row."""
    row = 0
    try:
        for found in _rows(path):
            row = found.offset + 1 if isinstance(found, BrokenRecord) else row + 1
            yield found
    except (OSError, pa.ArrowException, *UNPRINTABLE) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        yield BrokenRecord.at(path, row, "unreadable", str(error))


def _rows(path: Path) -> Iterator[Page | BrokenRecord]:
    published, row = published_as(path.name), 0
    with opened(path, FIELDS) as (file, left):
        columns, unread = _columns(file.schema_arrow)
        for group in range(file.metadata.num_row_groups):
            # A column's metadata would be exact, but Arrow aborts the process where it is damaged.
            declared = file.metadata.row_group(group)
            if declared.total_byte_size > left:
                detail = f"{declared.num_rows:,} rows"
                yield BrokenRecord.at(path, row, "too_large", detail)
                row += declared.num_rows
                continue
            rows = _batch_rows(declared)
            for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
                sizes = text_bytes(batch)
                found = _records(in_microseconds(batch), sum(sizes))
                for one, size in zip(found, sizes, strict=True):
                    record = one if isinstance(one, str) else one | unread
                    left -= size + NUMBER_BYTES * batch.num_columns
                    if left < 0:
                        yield BrokenRecord.at(path, row, "too_large", "and all rows after it")
                        return
                    yield _page(path, row, record, size, published)
                    row += 1


def _columns(schema: pa.Schema) -> tuple[list[str], dict[str, Any]]:
    """Returns the columns to read, and a value of a wrong type for each that is not.

    Of two columns of one name Arrow would read both, whatever their types.
    """
    names = [name for name in dict.fromkeys(schema.names) if name in FIELDS]
    plain = [
        name
        for name in names
        if schema.names.count(name) == 1 and any(of(schema.field(name).type) for of in PLAIN)
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
    for at, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            schema = schema.set(at, field.with_type(pa.timestamp("us", field.type.tz)))
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


def _page(
    path: Path, row: int, record: dict[str, Any] | str, size: int, published: Published
) -> Page | BrokenRecord:
    if isinstance(record, str):
        return BrokenRecord.at(path, row, record)
    reason = "too_large" if size > LARGEST_VALUE_BYTES else defect_of(record, published)
    return page_of(record, published) if reason is None else BrokenRecord.at(path, row, reason)
