"""Parquet files that mswitch wrote, read back: whole, of the expected columns, of bounded size.

A few kilobytes of Parquet can decode to gigabytes: a value of 32 MB, compressed, and a reference to
it per row; or a billion equal numbers, run-length encoded. So a file may decode to what gzip could
unpack from its bytes. Texts stay dictionaries while they are read, which hold a repeated value
once. A row group that declares too much is refused unread, and the bytes of all rows are counted
before anything is copied per row. Lists of numbers alone are counted after they are decoded.

A file that is damaged, of another kind, or too large is one sentence with its name, and with the
column and the row where one is at fault. In input pages damage is counted instead and does not end
the job (`data/reading/records.py`).
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.errors import DataError, is_system_error
from data.files.atomic import atomic_write
from data.files.paths import is_remote, local_copy, open_ranges

LARGEST_RATIO = 1032  # of DEFLATE: 258 bytes from 2 bits
FREE_BYTES = 64 << 20  # unpacked by any file, however small
WRITTEN_BYTES = 320 << 20  # by a file of ours: equal texts are packed as one
NUMBER_BYTES = 8
LONGEST = 200  # characters of Arrow's message
ROWS = 1024  # decoded at once, some 6 MB of pages
TABLE_ROWS = 1 << 16  # of a table that is held whole; each batch copies the texts before it
LISTS = (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)
COLUMN_BYTES = 1 << 20  # fetched at a time; Arrow would fetch a row group's texts for the first
Ranges = Mapping[str, tuple[float | int, float | int]]
NO_RANGES: Ranges = MappingProxyType({})


def write_table(table: pa.Table, path: str | Path, scratch: str | Path) -> None:
    """Writes a table with an atomic rename; `scratch` is a directory for the unfinished file."""
    with atomic_write(path, scratch) as unfinished:
        pq.write_table(table, unfinished)


def read_table(
    path: str | Path,
    schema: pa.Schema,
    may_be_null: Collection[str] = (),
    ranges: Ranges = NO_RANGES,
    name: str | None = None,
) -> pa.Table:
    """Returns a file's columns of a schema, which `read_pages` describes; it is fetched whole."""
    with local_copy(str(path)) as here:
        batches = _batches(here, name or str(path), schema, may_be_null, ranges, TABLE_ROWS)
        return pa.Table.from_batches(batches, schema)


def read_pages(
    path: str | Path,
    schema: pa.Schema,
    ranges: Ranges = NO_RANGES,
    name: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields the columns of a schema, converted to its types, `ROWS` rows at a time.

    Of a store's file no more is fetched than is read.

    Args:
        path: the file.
        schema: columns to read.
        ranges: smallest and greatest number of columns whose numbers are limited.
        name: name of the file in messages, if the path is that of a copy.

    Raises:
        DataError: if the file is damaged or decodes to too many bytes; if it lacks a column, or has
            it twice or of another type; or if a value is missing, not a number, or out of range.
    """
    return _batches(path, name or str(path), schema, (), ranges, ROWS)


def texts_in(path: str | Path, name: str) -> Iterator[str]:
    """Yields the texts of a file, whatever its columns are; those in lists and fields too.

    Raises:
        DataError: if the file is damaged, has a text that is not UTF-8, or decodes to too many
            bytes.
    """
    with _sentences_for(name), open_parquet(path) as (file, most):
        for batch in _bounded_columns(file, most, file.schema_arrow.names, ROWS):
            batch.validate(full=True)
            for column in batch.columns:
                yield from _texts(column)


def read_schema(path: str | Path, name: str | None = None) -> pa.Schema:
    """Returns the columns of a file, with their types and the file's metadata."""
    with _sentences_for(name or str(path)), open_ranges(str(path)) as source:
        return pq.read_schema(source)


def row_count(path: str | Path) -> int:
    """Returns the number of rows of a file, from its footer."""
    with _sentences_for(str(path)), open_ranges(str(path)) as source:
        return pq.read_metadata(source).num_rows


@contextlib.contextmanager
def open_parquet(
    path: str | Path, names: Collection[str] | None = None, free: int = FREE_BYTES
) -> Iterator[tuple[pq.ParquetFile, int]]:
    """Yields a file, and the bytes that it may decode to.

    Args:
        path: the file.
        names: columns whose texts are read as dictionaries; all if left out.
        free: bytes that it may decode to, however small it is.
    """
    with open_ranges(str(path)) as source:
        metadata = pq.read_metadata(source)
        columns = map(metadata.schema.column, range(metadata.num_columns))
        texts = [
            column.path
            for column in columns
            if column.physical_type == "BYTE_ARRAY"
            and (names is None or column.path.partition(".")[0] in names)
        ]
        with pq.ParquetFile(
            source,
            metadata=metadata,
            read_dictionary=texts,
            buffer_size=COLUMN_BYTES if is_remote(path) else 0,
            pre_buffer=False,  # which would fetch whole row groups at once
        ) as file:
            yield file, most_bytes(source.size(), free)


def most_bytes(file_bytes: int, free: int) -> int:
    """Returns the bytes that a file of this size may unpack to."""
    return LARGEST_RATIO * file_bytes + free


def text_bytes(batch: pa.RecordBatch) -> list[int]:
    """Returns the bytes of text in each row, of the columns that are dictionaries."""
    total = pa.array([0] * batch.num_rows, pa.int64())
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            total = pc.call_function("add", [total, pc.fill_null(_lengths(column), 0)])
    return total.to_pylist()


def _bounded_columns(
    file: pq.ParquetFile, most: int, names: list[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yields these columns; refuses a file whose rows together would take more bytes."""
    left, rows_left, groups = most, file.metadata.num_rows, range(file.metadata.num_row_groups)
    if sum(file.metadata.row_group(number).total_byte_size for number in groups) > most:
        raise ValueError(f"it declares more than {most:,} bytes")
    for batch in file.iter_batches(rows, columns=names):
        left -= sum(map(_decoded_bytes, batch.columns))
        if left < 0:
            raise ValueError(f"its rows take more than {most:,} bytes")
        rows_left -= batch.num_rows
        yield batch
    if rows_left:
        raise ValueError(f"it declares {file.metadata.num_rows:,} rows and lacks {rows_left:,}")


def _lengths(texts: pa.DictionaryArray) -> pa.Array:
    lengths = pc.call_function("binary_length", [texts.dictionary]).cast(pa.int64())
    return lengths.take(texts.indices)


def _decoded_bytes(column: pa.Array) -> int:
    """Returns the bytes that a column takes once its dictionaries are copied into the rows."""
    size = NUMBER_BYTES * len(column)
    if isinstance(column, pa.DictionaryArray):
        return size + (pc.call_function("sum", [_lengths(column)]).as_py() or 0)
    return size + sum(map(_decoded_bytes, _parts(column)))


def _parts(column: pa.Array) -> list[pa.Array]:
    """Returns the values of lists, or the fields of structures."""
    if isinstance(column, pa.StructArray):
        return column.flatten()
    return [column.flatten()] if isinstance(column, LISTS) else []


def _texts(column: pa.Array) -> Iterator[str]:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield from column.drop_null().to_pylist()
    for part in _parts(column):
        yield from _texts(part)


def _batches(
    path: str | Path,
    name: str,
    schema: pa.Schema,
    may_be_null: Collection[str],
    ranges: Ranges,
    rows: int,
) -> Iterator[pa.RecordBatch]:
    with _sentences_for(name), open_parquet(path, schema.names, WRITTEN_BYTES) as (file, most):
        _check_columns(file.metadata.schema.to_arrow_schema(), schema, name)
        first = 0
        for batch in _bounded_columns(file, most, schema.names, rows):
            for column in schema.names:
                if column not in may_be_null:
                    expected = f"a value in each row of the column {column}"
                    _refuse(name, expected, "none", first, _first_null(batch[column]))
                if column in ranges:
                    least, greatest = ranges[column]
                    row = _first_outside(batch[column], least, greatest)
                    expected = f"numbers from {least:,} to {greatest:,} in the column {column}"
                    _refuse(name, expected, row is not None and batch[column][row], first, row)
            columns = [batch[field.name].cast(field.type) for field in schema]
            checked = pa.RecordBatch.from_arrays(columns, schema=schema)
            checked.validate(full=True)
            yield checked
            first += batch.num_rows


def _refuse(name: str, expected: str, value: object, first: int, row: int | None) -> None:
    """Refuses a file for what one of its rows holds, if there is such a row."""
    if row is not None:
        raise _refusal(name, expected, f"has {value} in row {first + row:,}")


def _check_columns(there: pa.Schema, schema: pa.Schema, name: str) -> None:
    if missing := [column for column in schema.names if column not in there.names]:
        lacks = f"lacks the columns {', '.join(missing)}"
        raise _refusal(name, f"the columns {', '.join(schema.names)}", lacks)
    for field in schema:
        if there.names.count(field.name) > 1:
            raise _refusal(name, f"the column {field.name} once", "has it twice")
        kind = there.field(field.name).type
        if not _fits(kind, field.type):
            raise _refusal(name, f"{field.type} in the column {field.name}", f"has {kind}")


def _fits(there: pa.DataType, expected: pa.DataType) -> bool:
    """Returns whether a type has the same kind of values, whatever its width."""
    types = pa.types
    if types.is_dictionary(there):
        return _fits(there.value_type, expected)
    if types.is_struct(expected):
        return types.is_struct(there) and all(
            there.get_field_index(part.name) >= 0 and _fits(there.field(part.name).type, part.type)
            for part in expected
        )
    if types.is_list(expected):
        is_list = types.is_list(there) or types.is_large_list(there)
        return is_list and _fits(there.value_type, expected.value_type)
    if types.is_string(expected):
        return types.is_string(there) or types.is_large_string(there)
    if types.is_floating(expected):
        return types.is_floating(there) or types.is_integer(there)
    return types.is_integer(there) if types.is_integer(expected) else there == expected


def _refusal(name: str, expected: str, state: str) -> DataError:
    return DataError(
        f"{name} should have {expected} and {state}; restore the file, or write it again."
    )


def _first_outside(column: pa.Array, least: float | int, greatest: float | int) -> int | None:
    """Returns the first row with a number outside of a range; infinity and NaN are outside."""
    numbers = column.cast(pa.float64(), safe=False)
    not_less = pc.call_function("greater_equal", [numbers, pa.scalar(float(least))])
    not_more = pc.call_function("less_equal", [numbers, pa.scalar(float(greatest))])
    row = pc.index(pc.call_function("and", [not_less, not_more]), False).as_py()
    return row if row >= 0 else None


def _first_null(column: pa.Array) -> int | None:
    """Returns the first row without a value, or with a list that lacks one."""
    if column.null_count:
        return pc.index(column.is_null(), True).as_py()
    rows = [row for row in map(_first_null, _parts(column)) if row is not None]
    if rows and not isinstance(column, pa.StructArray):
        return pc.call_function("list_parent_indices", [column])[rows[0]].as_py()
    return min(rows, default=None)


@contextlib.contextmanager
def _sentences_for(name: str) -> Iterator[None]:
    """Turns what Arrow raises for a file's content within the block into one sentence."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        reason = " ".join(str(error).split())[:LONGEST]
        raise DataError(
            f"{name} should be a Parquet file and is damaged ({reason}); restore it, or write "
            "it again."
        ) from error
