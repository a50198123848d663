"""One page per line: two rounds find, for each line, the one page that keeps it.

Most lines are in one shard alone. So the first round sends 4 bytes per line: the 32 bits of its
hash after the bits that name the partition. Its verdict marks the lines whose 32 bits were sent
more than once, a few of them by different lines. The second round sends only the marked lines: 96
bits of the hash, and the rank of the page. Among 10^12 lines, two different ones collide in their
96 bits with probability 1e-5.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt32

from data.dedup import line_dedup
from data.numbers import is_among, repeated
from pipeline.beam.waves import Parts, Wave, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import (
    PartitionKeys,
    between,
    by_partition,
    mask_over,
    packed_mask,
    read_masks,
    sub_ranges,
    write_masks,
)
from pipeline.cleaning.line_keys import KEYS, keys_path, repeats_path
from pipeline.cleaning.sorted_keys import parts_of
from pipeline.cleaning.spills import spill

CLAIM = np.dtype([("first", "<u8"), ("third", "<u4"), ("rank", "<u8")])  # 20 bytes
SHORT = np.dtype("<u4")
HASHES_AT_ONCE = 1 << 24  # of a partition, compared in memory: 64 MB
CLAIMS_AT_ONCE = 1 << 22  # 84 MB


@dataclass(frozen=True)
class FindRepeatedHashes:
    """First round: marks the keys whose short hash another key of the partition has."""

    workspace: Workspace
    partitions: int

    step = "repeated"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the short hashes of a shard's keys, by partition."""
        for part in parts_of(keys_path(self.workspace, shard), self.partitions, wave):
            first = part.keys["first"].to_numpy()
            yield from by_partition(self._short(first), first, part, self.partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard which of its hashes occur more than once in the partition."""
        count = sum(len(part) // SHORT.itemsize for _, part in parts)
        ranges = sub_ranges(count, HASHES_AT_ONCE, 8 * SHORT.itemsize)
        found = np.concatenate([_repeated_in(parts, *one) for one in ranges])
        for shard, part in parts:
            yield shard, packed_mask(is_among(np.frombuffer(part, SHORT), found))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the masks of a shard's keys."""
        write_masks(self.workspace, wave.verdict(self.workspace, self.step, shard), verdicts)

    def _short(self, hashes: np.ndarray) -> UInt32[np.ndarray, " keys"]:
        """Returns the 32 bits after those that name the partition."""
        bits = np.uint64(self.partitions.bit_length() - 1)
        return ((hashes << bits) >> np.uint64(32)).astype(SHORT)


def _repeated_in(parts: Iterable[tuple[int, bytes]], first: int, end: int) -> np.ndarray:
    some = [np.empty(0, SHORT)]
    for _, part in parts:
        hashes = np.frombuffer(part, SHORT)  # in ascending order
        begin, stop = between(hashes, first, end, 32)
        some.append(hashes[begin:stop])
    return repeated(np.concatenate(some))


@dataclass(frozen=True)
class FindDuplicateLines:
    """Second round: marks the keys, of those marked before, whose line another shard keeps."""

    workspace: Workspace
    partitions: int

    step = "duplicate"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the claims of a shard's marked keys, by partition."""
        for part, marked in _marked(self.workspace, shard, self.partitions, wave):
            columns = {name: part.keys[name].to_numpy()[marked] for name in KEYS.names}
            claims = np.empty(int(marked.sum()), CLAIM)
            claims["first"], claims["rank"] = columns["first"], columns["rank"]
            claims["third"] = columns["second"] >> np.uint64(32)
            yield from by_partition(claims, columns["first"], part, self.partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard which of its claims are lost: all but one of a line."""
        count = sum(len(part) // CLAIM.itemsize for _, part in parts)
        lost: dict[int, list[np.ndarray]] = {shard: [] for shard, _ in parts}
        width, start = (1 << 64) // self.partitions, partition * (1 << 64) // self.partitions
        for first, end in sub_ranges(count, CLAIMS_AT_ONCE, width.bit_length() - 1):
            for shard, mask in _lost_in(parts, start + first, start + end):
                lost[shard].append(mask)
        for shard, masks in lost.items():
            yield shard, packed_mask(np.concatenate(masks))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the masks of a shard's claims."""
        write_masks(self.workspace, wave.verdict(self.workspace, self.step, shard), verdicts)


def _lost_in(
    parts: Iterable[tuple[int, bytes]], first: int, end: int
) -> Iterator[tuple[int, Bool[np.ndarray, " claims"]]]:
    """Yields for each shard which of its claims with hashes of a range are lost."""
    claims, shards = [np.empty(0, CLAIM)], []
    for shard, part in parts:
        some = np.frombuffer(part, CLAIM)
        begin, stop = between(some["first"], first, end, 64)
        claims.append(some[begin:stop])
        shards.append(shard)
    counts = list(map(len, claims[1:]))
    every = np.concatenate(claims)
    hashes = np.stack((every["first"], every["third"].astype(np.uint64)), axis=1)
    numbers = np.repeat(np.array(shards, np.uint64), counts)
    lost = ~line_dedup.surviving_lines(hashes, every["rank"], numbers)
    yield from zip(shards, np.split(lost, np.cumsum(counts)[:-1]), strict=True)


def duplicate_lines_of(
    workspace: Workspace, shard: int, waves: Waves
) -> UInt32[np.ndarray, " lines"]:
    """Returns the numbers of the lines that a shard's pages do not keep, sorted."""
    found = [part["line"].to_numpy() for part in spill.batches(repeats_path(workspace, shard))]
    for wave in waves.all():
        lost = read_masks(wave.verdict(workspace, FindDuplicateLines.step, shard))
        for part, marked in _marked(workspace, shard, waves.partitions, wave):
            hashes, lines = (part.keys[name].to_numpy()[marked] for name in ("first", "line"))
            found.append(lines[mask_over(hashes, part, waves.partitions, lost)])
    return np.sort(np.concatenate(found))


def _marked(
    workspace: Workspace, shard: int, partitions: int, wave: Wave
) -> Iterator[tuple[PartitionKeys, Bool[np.ndarray, " keys"]]]:
    """Yields a shard's keys with the mask of the first round."""
    masks = read_masks(wave.verdict(workspace, FindRepeatedHashes.step, shard))
    for part in parts_of(keys_path(workspace, shard), partitions, wave):
        yield part, mask_over(part.keys["first"].to_numpy(), part, partitions, masks)
