"""The tables that `score` writes beside a corpus and `select` reads: one row per page of a file."""

import pyarrow as pa

from data.curation.personal_data import SPANS
from data.curation.signals import SHARES, SIGNALS
from data.files.parquet_files import read_table
from data.language_id import columns

BENCHMARKS = pa.list_(pa.string())
SCORES = pa.schema(
    [
        *columns.COLUMNS,
        *SIGNALS,
        pa.field("personal_data", SPANS),
        pa.field("benchmarks", BENCHMARKS),
    ]
)
MAY_BE_NULL = [name for name in columns.COLUMNS.names if not name.startswith("combined_")]
NUMBERS = ("characters", "words", "mean_word_length", *SHARES)
RANGES = dict.fromkeys(NUMBERS, (0, 2**31 - 1)) | {
    name: (0, 1) for name in columns.COLUMNS.names if name.endswith(("_probability", "_share"))
}


def read_scores(path: str) -> pa.Table:
    """Returns the scores of a file's pages.

    Raises:
        DataError: if the file is damaged, of another kind, or has values that no page can have.
    """
    return read_table(path, SCORES, MAY_BE_NULL, RANGES)
