"""The exchange: shards spill keys, and the reader of each hash partition compares those of all.

Each shard writes one file of keys: chunk by chunk, one batch per hash partition. The following step
opens all these files once per partition and reads only its own batches. It spills the duplicates
that it finds as numbers (rows or lines), one batch per shard.
"""

import numpy as np
from jaxtyping import UInt64

from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill


def keys_path(workspace: Workspace, step: str, shard: int) -> str:
    """Returns the path of the keys that a step spills for a shard."""
    return workspace.spill(step, shard, ".claims")


def partition_of(digest: bytes, partitions: int) -> int:
    """Returns the hash partition of a digest, by its first 32 bits."""
    return int.from_bytes(digest[:4], "big") * partitions >> 32


def partitions_of(
    hashes: UInt64[np.ndarray, " keys"], partitions: int
) -> UInt64[np.ndarray, " keys"]:
    """Returns the hash partition of each hash, by its first 32 bits."""
    return (hashes >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)


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


def by_shard(shards: np.ndarray, numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """Returns the numbers that belong to each of `count` shards, sorted."""
    order = np.lexsort((numbers, shards))
    ends = np.searchsorted(shards[order], np.arange(1, count))
    return np.split(numbers[order], ends)
