"""Reads pages from Parquet files: published corpora, and the output of `mswitch clean`.

Each row is a record with the fields of `page_record`. Rows are read in batches, so memory does not
grow with the file. A truncated Parquet file has no footer and is one loss; damage inside a file
loses the rows from there on. Offsets are row numbers.
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
BATCH_ROWS = 256


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per row."""
    published, row = published_as(path.name), 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = [name for name in file.schema_arrow.names if name in FIELDS]
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                for record in batch.to_pylist():
                    reason = defect_of(record)
                    broken = reason is not None and BrokenRecord.at(path, row, reason)
                    yield broken or page_of(record, published)
                    row += 1
    # Years and time zones that Python lacks raise OverflowError, KeyError and ValueError.
    except (OSError, pa.ArrowException, ArithmeticError, LookupError, ValueError) as error:
        if isinstance(error, OSError) and is_system_error(error):
            raise
        yield BrokenRecord.at(path, row, "unreadable", str(error))
