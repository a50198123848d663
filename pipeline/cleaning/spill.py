"""Spilled files: Arrow files of which single batches can be read, by number.

A file of keys has one batch per hash partition and chunk, in the order of the chunks. Batches
without rows are written too, so a partition's batches are a fixed number apart.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data.stores.ranges import open_ranges
from pipeline.beam.workspace import Workspace

OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@contextlib.contextmanager
def writer(
    workspace: Workspace, path: str, schema: pa.Schema
) -> Iterator[pa.RecordBatchFileWriter]:
    """Yields a writer of a spilled file, which appears when the block ends."""
    with (
        workspace.publish(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as file,
        pa.ipc.new_file(file, schema, options=OPTIONS) as batches,
    ):
        yield batches


@contextlib.contextmanager
def reader(path: str) -> Iterator[pa.RecordBatchFileReader]:
    """Yields a reader of a spilled file."""
    with open_ranges(path) as file, pa.ipc.open_file(file) as batches:
        yield batches


def batches(path: str, numbers: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yields all batches of a file, or those with these numbers."""
    with reader(path) as found:
        for number in range(found.num_record_batches) if numbers is None else numbers:
            yield found.get_batch(number)


def every(path: str, first: int, step: int) -> Iterator[pa.RecordBatch]:
    """Yields every `step`-th batch of a file from `first` on: those of one partition."""
    with reader(path) as found:
        for number in range(first, found.num_record_batches, step):
            yield found.get_batch(number)


def batch(schema: pa.Schema, columns: Iterable[Any]) -> pa.RecordBatch:
    """Returns a batch of these columns, in the order of the schema."""
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write_numbers(workspace: Workspace, path: str, lists: Sequence[np.ndarray]) -> None:
    """Spills lists of numbers, one batch per list."""
    schema = pa.schema([("number", pa.uint32())])
    with writer(workspace, path, schema) as file:
        for numbers in lists:
            file.write_batch(batch(schema, [numbers]))


def read_numbers(paths: Sequence[str], number: int) -> np.ndarray:
    """Returns the numbers in one batch of each file, sorted together."""
    found = [one["number"].to_numpy() for path in paths for one in batches(path, [number])]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint32)
