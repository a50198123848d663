"""Pages as Arrow record batches, the format of spilled pages between the steps of cleaning.

Invariant: `pages(batch(some)) == some` for every list of pages. `WRITTEN` has the columns of a
finished corpus, in order, and `REJECTED` those of rejected pages. `BROKEN` has
those of broken records. No value of these is missing.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from data.reading.page import Page

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


def batch(pages: Sequence[Page]) -> pa.RecordBatch:
    """Returns the pages as one batch, one row per page."""
    return pa.RecordBatch.from_pylist([page._asdict() for page in pages], SCHEMA)


def pages(batch: pa.RecordBatch) -> Iterable[Page]:
    """Returns the pages of a batch, in order; other columns of it are ignored."""
    columns = [batch[name].to_pylist() for name in SCHEMA.names]
    removed = SCHEMA.get_field_index("removed_lines")
    columns[removed] = [tuple(rules) for rules in columns[removed]]
    return map(Page._make, zip(*columns, strict=True))
