"""The exchange: shards spill keys, and the reader of each hash partition compares those of all.

Each shard writes one file of keys: chunk by chunk, one batch per hash partition. The following step
opens all these files once per partition and reads only its own batches. It spills the duplicates
that it finds as numbers (rows or lines), one batch per shard.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import UInt32, UInt64

from data.errors import DataError
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill

NUMBERS = 2**32


def keys_path(workspace: Workspace, step: str, shard: int) -> str:
    """Returns the path of the keys that a step spills for a shard."""
    return workspace.spill(step, shard, ".claims")


def write_keys(
    file: pa.RecordBatchFileWriter,
    schema: pa.Schema,
    hashes: UInt64[np.ndarray, " keys"],
    partitions: int,
    columns: Sequence[np.ndarray],
) -> None:
    """Writes the keys of a chunk, one batch per partition; the hash's first 32 bits choose it."""
    partition = (hashes >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)
    order = np.argsort(partition, kind="stable")
    ends = np.searchsorted(partition[order], np.arange(partitions + 1))
    for begin, end in itertools.pairwise(ends):
        rows = order[begin:end]
        file.write_batch(spill.batch(schema, [column[rows] for column in columns]))


def read_keys(
    workspace: Workspace, step: str, shards: int, batches: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    """Returns the keys of one partition in one array, each with its shard.

    Args:
        workspace: workspace of the job.
        step: step that spilled the keys.
        shards: number of shards.
        batches: first batch of each file, and number of batches per chunk.
        dtype: dtype with the file's columns and `shard`.
    """
    parts = [np.empty(0, dtype)]
    for shard in range(shards):
        for batch in spill.every(keys_path(workspace, step, shard), *batches):
            part = np.empty(batch.num_rows, dtype)
            for name in batch.schema.names:
                part[name] = batch[name].to_numpy()
            part["shard"] = shard
            parts.append(part)
    return np.concatenate(parts)


def numbers_from(first: int, count: int, what: str) -> UInt32[np.ndarray, " count"]:
    """Returns the numbers of a chunk's lines or rows within its shard.

    Args:
        first: number of the first.
        count: how many there are.
        what: what is numbered, for the message.

    Raises:
        DataError: if a number does not fit the 32 bits that it has in the keys.
    """
    if first + count > NUMBERS:
        raise DataError(
            f"A shard of the input has more than {NUMBERS:,} {what}, which is what 32 bits can "
            "number; divide its files into smaller ones."
        )
    return np.arange(first, first + count, dtype=np.int64).astype(np.uint32)


def by_shard(shards: np.ndarray, numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """Returns the numbers that belong to each of `count` shards, sorted."""
    order = np.lexsort((numbers, shards))
    ends = np.searchsorted(shards[order], np.arange(1, count))
    return np.split(numbers[order], ends)
