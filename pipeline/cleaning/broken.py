"""Broken records on their way to the corpus: every one, with its file, its place and what is wrong.

A manifest counts them by reason and names the first few; who wants to mend or re-fetch an archive
needs them all. Each shard spills its own, a batch a chunk, and one file of the corpus takes them
one batch after another, in the order of the input: no number of them has to fit in memory.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data.page import BrokenRecord
from pipeline import storage
from pipeline.cleaning import spill
from pipeline.cleaning.workspace import Workspace

FOLDER = "broken"
NAME = f"{FOLDER}/records.parquet"
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),  # in bytes, of the file as it lies there
        ("reason", pa.string()),
        ("detail", pa.string()),  # what the reader said
    ]
)


def spilled(workspace: Workspace, step: str, shard: int) -> str:
    """Returns the path of what a shard spills."""
    return workspace.spill(step, shard, ".broken")


def batch(records: Sequence[BrokenRecord]) -> pa.RecordBatch:
    """Returns the broken records of a chunk, in their order."""
    return pa.RecordBatch.from_pylist([one._asdict() for one in records], SCHEMA)


def write(workspace: Workspace, spills: Sequence[str]) -> str:
    """Writes the table of all, unless it is there; returns its name.

    Args:
        workspace: of the run.
        spills: names of what the shards spilled, in order.
    """
    path = storage.join(workspace.out, NAME)
    if not storage.exists(path):
        with (
            workspace.publish(path) as unfinished,
            pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as table,
        ):
            for name in spills:
                for one in spill.batches(workspace.path_of(name)):
                    table.write_batch(one)
    return NAME
