"""Parquet files that mswitch wrote, read back: whole, of the expected columns, without gaps.

A damaged file, one of another kind, or one that decodes to too many bytes (`parquet_limits`) is one
sentence with its name. Input pages are read elsewhere (`data/reading/parquet_pages.py`), where
damage is counted and does not end the job.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError, is_system_error
from data.stores.files import local_copy
from data.stores.parquet_limits import bounded_batches, texts

LONGEST = 200  # characters of Arrow's message


def read_table(path: str | Path, schema: pa.Schema, may_be_null: Collection[str] = ()) -> pa.Table:
    """Returns the columns of a schema, converted to its types.

    Args:
        path: the file.
        schema: columns to read.
        may_be_null: names of columns that may lack a number; every text may be absent.

    Raises:
        DataError: if the file is damaged, lacks a column, has one of another type, or has a number
            missing.
    """
    with (
        sentences_for(str(path)),
        local_copy(str(path)) as here,
        _opened(here, schema) as file,
    ):
        if missing := [name for name in schema.names if name not in file.schema_arrow.names]:
            raise DataError(
                f"{path} should have the columns {', '.join(schema.names)} and lacks the columns "
                f"{', '.join(missing)}; restore the file, or write it again."
            )
        batches = bounded_batches(file, schema.names, here.stat().st_size)
        columns = pa.schema([file.schema_arrow.field(name) for name in schema.names])
        table = pa.Table.from_batches(batches, columns).cast(schema)
        table.validate(full=True)
    for field in schema:
        allowed = pa.types.is_string(field.type) or field.name in may_be_null
        if table[field.name].null_count and not allowed:
            raise DataError(
                f"{path} should have a number in each row of {field.name} and has none in "
                f"{table[field.name].null_count}; restore the file, or write it again."
            )
    return table


def _opened(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    metadata = pq.read_metadata(path)
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=texts(metadata, schema.names))


@contextlib.contextmanager
def sentences_for(address: str) -> Iterator[None]:
    """Turns what Arrow raises for a file's content within the block into one sentence.

    Raises:
        DataError: if the content is damaged or has another shape.
    """
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        reason = " ".join(str(error).split())[:LONGEST]
        raise DataError(
            f"{address} should be a Parquet file and is damaged ({reason}); restore it, or write "
            "it again."
        ) from error
