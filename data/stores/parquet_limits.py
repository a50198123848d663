"""The decoded size that a Parquet file may have: at most what gzip could unpack from its bytes.

A few kilobytes of Parquet can decode to gigabytes: a value of 32 MB, compressed, and a reference to
it per row; or a billion equal numbers, run-length encoded. So texts stay dictionaries while they
are read, which hold a repeated value once; a row group that declares too much is refused unread;
and the bytes of all rows are counted before anything is copied per row.
"""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LARGEST_RATIO = 1032  # of DEFLATE: 258 bytes from 2 bits
FREE_BYTES = 64 << 20  # unpacked by any file, however small
NUMBER_BYTES = 8


def most_bytes(file_bytes: int) -> int:
    """Returns the bytes that a file of this size may unpack to."""
    return LARGEST_RATIO * file_bytes + FREE_BYTES


def texts(metadata: pq.FileMetaData, names: Collection[str]) -> list[str]:
    """Returns the named columns that can be read as dictionaries."""
    columns = map(metadata.schema.column, range(metadata.num_columns))
    return [
        column.path for column in columns
        if column.path in names and column.physical_type == "BYTE_ARRAY"
    ]  # fmt: skip


def text_bytes(batch: pa.RecordBatch) -> list[int]:
    """Returns the bytes of text in each row, of the columns that are dictionaries."""
    total = pa.array([0] * batch.num_rows, pa.int64())
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            of_values = pc.call_function("binary_length", [column.dictionary]).cast(pa.int64())
            total = pc.call_function(
                "add", [total, pc.fill_null(of_values.take(column.indices), 0)]
            )
    return total.to_pylist()


class TooLarge(ValueError):
    """A file decodes to more bytes than one of its size may."""


def bounded_batches(
    file: pq.ParquetFile, names: list[str], file_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Yields these columns of a file whose texts are read as dictionaries.

    Raises:
        TooLarge: if all rows together would take more than `most_bytes`.
    """
    left = most_bytes(file_bytes)
    groups = range(file.metadata.num_row_groups)
    if sum(file.metadata.row_group(number).total_byte_size for number in groups) > left:
        raise TooLarge(f"it declares more than {left:,} bytes")
    for batch in file.iter_batches(columns=names):
        left -= sum(text_bytes(batch)) + NUMBER_BYTES * batch.num_rows * batch.num_columns
        if left < 0:
            raise TooLarge(f"its rows take more than {most_bytes(file_bytes):,} bytes")
        yield batch
