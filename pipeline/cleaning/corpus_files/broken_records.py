"""The list of broken records in the corpus: each with its file, offset and error.

The manifest counts them by reason and has the first few. To repair an archive, or to see what a
crawl lost, all are needed. Each shard spills its own, one batch per chunk. One file of the corpus
is written from them batch by batch, in the order of the input, so they never have to fit in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.files.paths import exists, join_path
from data.reading.page import BROKEN, BrokenRecord
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.spills import spill

FOLDER = "broken"
NAME = f"{FOLDER}/records.parquet"
ROWS_PER_GROUP = 10_000


class BrokenFile(NamedTuple):
    """The file of all broken records.

    Attributes:
        name: path relative to the corpus.
        spills: names of the shards' spilled files, in order.
    """

    name: str
    spills: tuple[str, ...]


def spilled(workspace: Workspace, step: str, shard: int) -> str:
    """Returns the path of a shard's spilled file."""
    return workspace.spill(step, shard, ".broken")


def batch(records: Sequence[BrokenRecord]) -> pa.RecordBatch:
    """Returns the broken records of a chunk, in order."""
    return pa.RecordBatch.from_pylist([one._asdict() for one in records], BROKEN)


def write(workspace: Workspace, table: BrokenFile) -> str:
    """Writes the file, unless it exists; returns its name."""
    return write_table(workspace, table.name, _batches(workspace, table), BROKEN)


def write_table(
    workspace: Workspace, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> str:
    """Writes a file of the corpus from batches, unless it exists; returns its name."""
    path = join_path(workspace.out, name)
    if not exists(path):
        with (
            workspace.publish(path) as unfinished,
            pq.ParquetWriter(unfinished, schema, compression="zstd") as rows,
        ):
            for group in _row_groups(batches, schema):
                rows.write_table(group)
    return name


def _batches(workspace: Workspace, table: BrokenFile) -> Iterator[pa.RecordBatch]:
    for name in table.spills:
        yield from spill.batches(workspace.path_of(name))


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields tables of a fixed number of rows, so the bytes do not depend on the shards."""
    waiting = schema.empty_table()
    for one in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([one])])  # copies nothing
        while len(waiting) >= ROWS_PER_GROUP:
            yield waiting[:ROWS_PER_GROUP].combine_chunks()
            waiting = waiting[ROWS_PER_GROUP:]
    if len(waiting):
        yield waiting.combine_chunks()
