"""Keys that cross between shards: hash partitions, packed masks, and one shard's keys in order.

A hash partition is a range of 64-bit hashes. A verdict is a mask over the keys that a shard sent,
in their order: one bit per key.

A shard that is one large file has more keys than fit in memory. They are sorted in runs on the
worker's disk, and read again range by range of the hashes (an external sort). A range holds whole
partitions.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, Shaped, UInt32, UInt64

from pipeline.beam.workspace import Exchange, Wave, Workspace, verdict_paths
from pipeline.corpus import spills

NUMBERS = 2**32  # of a shard's lines, and so of its pages; `read` sets aside what has more
MASKS = pa.schema([("partition", pa.uint32()), ("mask", pa.binary())])


class PartitionKeys(NamedTuple):
    """Keys in some consecutive partitions, from `first` up to and without `end`."""

    first: int
    end: int
    keys: Any


def ends_of(
    hashes: UInt64[np.ndarray, " keys"], first: int, end: int, partitions: int
) -> Int64[np.ndarray, " ends"]:
    """Returns the index of each partition's first key in sorted hashes, and of the last one's end.

    Args:
        hashes: hashes of partitions from `first` up to and without `end`, in ascending order.
        first: first partition.
        end: partition after the last.
        partitions: number of all partitions, a power of two.
    """
    starts = [number * (1 << 64) // partitions for number in range(first + 1, end)]
    return np.concatenate(
        ([0], np.searchsorted(hashes, np.array(starts, np.uint64)), [len(hashes)])
    ).astype(np.int64)


def numbers_from(first: int, count: int) -> UInt32[np.ndarray, " count"]:
    """Returns the numbers of a chunk's lines or pages within its shard, below `NUMBERS`.

    Args:
        first: number of the first.
        count: how many there are.
    """
    assert first + count <= NUMBERS  # `read` sees to it
    return np.arange(first, first + count, dtype=np.int64).astype(np.uint32)


def packed_mask(mask: Bool[np.ndarray, " keys"]) -> bytes:
    """Returns a mask as bytes, one bit per key."""
    return np.packbits(mask).tobytes()


def write_masks(workspace: Workspace, path: str, verdicts: dict[int, bytes]) -> None:
    """Writes the packed mask of each partition of a wave."""
    spills.write(workspace, path, MASKS, [list(verdicts), list(verdicts.values())])


def read_masks(path: str) -> dict[int, bytes]:
    """Returns the packed mask of each partition of a wave."""
    (batch,) = spills.batches(path)
    partitions, masks = (column.to_pylist() for column in batch.columns)
    return dict(zip(partitions, masks, strict=True))


def mask_over(
    hashes: UInt64[np.ndarray, " keys"],
    part: PartitionKeys,
    partitions: int,
    masks: dict[int, bytes],
) -> Bool[np.ndarray, " keys"]:
    """Returns the mask over keys that were sent `by_partition`.

    Args:
        hashes: hashes of the keys, ascending.
        part: partitions that they are in.
        partitions: number of all partitions.
        masks: packed mask of each partition that has keys.
    """
    ends = ends_of(hashes, part.first, part.end, partitions)
    mask = np.empty(len(hashes), dtype=bool)
    for number, (begin, end) in enumerate(itertools.pairwise(ends), part.first):
        if begin < end:
            bits = np.frombuffer(masks[number], np.uint8)
            mask[begin:end] = np.unpackbits(bits, count=end - begin)
    return mask


def collected_numbers(exchange: Exchange, shard: int) -> UInt32[np.ndarray, " numbers"]:
    """Returns the numbers that a shard collected in all waves, sorted."""
    return spills.read_numbers(verdict_paths(exchange, shard))


def write_numbers(workspace: Workspace, path: str, verdicts: Iterable[bytes]) -> None:
    """Writes the numbers that several verdicts hold."""
    numbers = [np.frombuffer(verdict, np.uint32) for verdict in verdicts]
    spills.write_numbers(workspace, path, np.concatenate([np.empty(0, np.uint32), *numbers]))


def sub_ranges(keys: int, at_once: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yields ranges that cover all numbers of `bits` bits, few enough keys each if they spread.

    So a group of keys larger than memory is compared range by range.

    Args:
        keys: number of keys.
        at_once: number of keys that are compared at one time.
        bits: size of a key in bits.
    """
    count = max(1, -(-keys // at_once))
    for number in range(count):
        yield (number << bits) // count, (number + 1 << bits) // count


def between(
    ordered: Shaped[np.ndarray, " numbers"], first: int, end: int, bits: int
) -> tuple[int, int]:
    """Returns where the numbers from `first` up to and without `end` begin and end."""
    begin = int(np.searchsorted(ordered, ordered.dtype.type(first)))
    if end >> bits:
        return begin, len(ordered)
    return begin, int(np.searchsorted(ordered, ordered.dtype.type(end)))


def by_partition(
    values: Shaped[np.ndarray, "keys ..."],
    hashes: UInt64[np.ndarray, " keys"],
    part: PartitionKeys,
    partitions: int,
) -> Iterator[tuple[int, bytes]]:
    """Yields the values of each partition that has any, as bytes; `hashes` are ascending."""
    ends = ends_of(hashes, part.first, part.end, partitions)
    for number, (begin, end) in enumerate(itertools.pairwise(ends), part.first):
        if begin < end:
            yield number, values[begin:end].tobytes()


KEYS_AT_ONCE = 1 << 21  # 59 MB of the keys of lines

Keys = Shaped[np.ndarray, " keys"]


class SortedKeys:
    """Takes keys in any order, and yields them in that of their field `first`."""

    def __init__(
        self,
        dtype: np.dtype,
        directory: str | Path,
        partitions: int,
        at_once: int = KEYS_AT_ONCE,
    ):
        self._directory, self._partitions, self._at_once = Path(directory), partitions, at_once
        self._none = np.empty(0, dtype)
        self._waiting: list[Keys] = []
        self._runs: list[Path] = []
        self._in_memory = self._count = 0

    def add(self, keys: Keys) -> None:
        """Takes more keys."""
        self._waiting.append(keys)
        self._in_memory += len(keys)
        self._count += len(keys)
        if self._in_memory >= self._at_once:
            self._store()

    def ranges(self) -> Iterator[Keys]:
        """Yields the keys range by range: a power of two of them, each of the same width."""
        if not self._runs:
            yield _sort([self._none, *self._waiting])
            return
        self._store()
        runs = [np.load(path, mmap_mode="r") for path in self._runs]
        wanted = 1 << (-(-self._count // self._at_once) - 1).bit_length()
        count = min(wanted, self._partitions)
        # From a copy: searching a column of packed rows copies it, 7 ms per search of 2^21 keys.
        ends = [ends_of(np.ascontiguousarray(run["first"]), 0, count, count) for run in runs]
        for number in range(count):
            spans = (slice(*at[number : number + 2]) for at in ends)
            yield _sort([run[span] for run, span in zip(runs, spans, strict=True)])

    def _store(self) -> None:
        if not self._waiting:
            return
        path = self._directory / f"{len(self._runs)}.npy"
        np.save(path, _sort(self._waiting))
        self._runs.append(path)
        self._waiting, self._in_memory = [], 0


def _sort(parts: list[Keys]) -> Keys:
    keys = np.concatenate(parts)
    return keys[np.argsort(keys["first"], kind="stable")]


def spilled_keys(path: str, dtype: np.dtype) -> Iterator[Keys]:
    """Yields the keys of a spilled file, batch by batch."""
    for batch in spills.batches(path):
        keys = np.empty(batch.num_rows, dtype)
        for name in dtype.names or ():
            keys[name] = batch[name].to_numpy()
        yield keys


def parts_of(path: str, partitions: int, wave: Wave) -> Iterator[PartitionKeys]:
    """Yields the keys of a shard in the partitions of a wave, in order.

    Args:
        path: spilled file of its keys, one batch per range.
        partitions: number of all partitions.
        wave: partitions that are read.
    """
    with spills.reader(path) as file:
        each = partitions // file.num_record_batches
        for number in range(wave.first // each, -(-wave.end // each)):
            whole = file.get_batch(number)
            first, end = number * each, (number + 1) * each
            ends = ends_of(whole["first"].to_numpy(), first, end, partitions)
            begin, stop = max(first, wave.first), min(end, wave.end)
            rows = ends[begin - first], ends[stop - first] - ends[begin - first]
            yield PartitionKeys(begin, stop, whole.slice(*rows))
