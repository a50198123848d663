"""Spilled files: Arrow files of which single batches can be read, by number."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32

from data.errors import DataError, is_system_error
from data.files.paths import open_ranges
from pipeline.beam.workspace import Workspace

NUMBERS = pa.schema([("number", pa.uint32())])
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
    """Yields a reader of a spilled file.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        with open_ranges(path) as file, pa.ipc.open_file(file) as batches:
            yield batches
    except (OSError, pa.ArrowException) as error:
        missing = isinstance(error, FileNotFoundError)
        if isinstance(error, OSError) and is_system_error(error) and not missing:
            raise
        raise DataError(
            f"{path} is missing or damaged ({error}); restore it, or clean its input again."
        ) from error


def batches(path: str, numbers: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Yields all batches of a file, or those with these numbers."""
    with reader(path) as found:
        for number in range(found.num_record_batches) if numbers is None else numbers:
            yield found.get_batch(number)


def batch(schema: pa.Schema, columns: Iterable[Any]) -> pa.RecordBatch:
    """Returns a batch of these columns, in the order of the schema."""
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write(workspace: Workspace, path: str, schema: pa.Schema, columns: Iterable[Any]) -> None:
    """Spills a table of one batch."""
    with writer(workspace, path, schema) as file:
        file.write_batch(batch(schema, columns))


def write_numbers(workspace: Workspace, path: str, numbers: np.ndarray) -> None:
    """Spills numbers of rows or lines."""
    write(workspace, path, NUMBERS, [numbers])


def read_numbers(paths: Iterable[str]) -> UInt32[np.ndarray, " numbers"]:
    """Returns the numbers in these files, sorted together."""
    found = [one["number"].to_numpy() for path in paths for one in batches(path)]
    return np.sort(np.concatenate([np.empty(0, np.uint32), *found]))
