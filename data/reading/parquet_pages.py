"""Reads pages from Parquet files: published corpora, and what `mswitch clean` itself wrote.

A row is a record as in `page_record`. Rows come in batches, so memory does not grow with the file.
Parquet's footer lies at its end, so a truncated file is one loss; a damaged part costs the rows
from there on. Offsets are row numbers.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import is_system_error
from data.reading.page import BrokenRecord, Page
from data.reading.page_record import defect_of, page_of
from data.reading.published_names import published_as

SUFFIXES = (".parquet",)

FIELDS = ("text", "url", "timestamp", "lang", "language", "split")
ROWS_A_BATCH = 256


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields every row of the file: a page, or what is broken about it."""
    published, row = published_as(path.name), 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = [name for name in file.schema_arrow.names if name in FIELDS]
            for batch in file.iter_batches(ROWS_A_BATCH, columns=columns):
                for record in batch.to_pylist():
                    reason = defect_of(record)
                    broken = reason is not None and BrokenRecord.at(path, row, reason)
                    yield broken or page_of(record, published)
                    row += 1
    # A timestamp of a year or a zone that Python does not know: Overflow, Key and ValueError.
    except (OSError, pa.ArrowException, ArithmeticError, LookupError, ValueError) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        yield BrokenRecord.at(path, row, "unreadable", str(error))
