"""Line deduplication over a corpus: keys of each shard's lines, two exchanges that find duplicates.

A line has one key per shard, as taking the smallest rank is associative; so a line that is on every
page of the crawl crosses between shards once per shard. Keys are in the order of their hashes.

Most lines are in one shard alone. So the first exchange sends 4 bytes per line: the 32 bits of its
hash after the bits that name the partition. Its verdict marks the lines whose 32 bits were sent
more than once, a few of them by different lines. The second one sends only the marked lines: 96
bits of the hash, and the rank of the page. It finds, for each line, the one page that keeps it
(`data.dedup.line_dedup`). Among 10^12 lines, two different ones collide in their 96 bits with
probability 1e-5.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Shaped, UInt32

from data.dedup import line_dedup
from data.dedup.line_dedup import LineHashes
from data.files.paths import temporary_folder
from data.numbers import is_among, repeated_numbers
from data.reading.page import Page
from pipeline.beam.workspace import Parts, Wave, Waves, Workspace, verdict_path
from pipeline.corpus import spills
from pipeline.corpus.counts import Tally
from pipeline.corpus.judgements import Judgement, Rows, SpilledPages
from pipeline.corpus.keys import (
    PartitionKeys,
    SortedKeys,
    between,
    by_partition,
    mask_over,
    numbers_from,
    packed_mask,
    parts_of,
    read_masks,
    sub_ranges,
    write_masks,
)
from pipeline.corpus.spills import ROW, page_spill

LINE_KEY = np.dtype([("first", "u8"), ("second", "u8"), ("rank", "u8"), ("line", "u4")])
LINE_KEYS = pa.schema(
    [(name, pa.from_numpy_dtype(LINE_KEY[name])) for name in LINE_KEY.names or ()]
)
# A page whose lines are compared, with the number of its first line and of its lines.
CLAIMED = pa.schema([(ROW, pa.uint32()), ("first", pa.uint32()), ("lines", pa.uint32())])


@dataclass(frozen=True)
class SpillLineKeys:
    """Spills a shard's pages that pass the judgements, and the keys of their lines."""

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]
    line_hashes: LineHashes
    partitions: int

    name = "claim"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        with (
            page_spill(self.workspace, self.name, number) as files,
            line_keys(self.workspace, number, self.partitions) as keys,
        ):
            for passed, dropped, rows in self.source.chunks(
                self.workspace, number, self.judgements
            ):
                files.write(passed, dropped, rows)
                keys.claim(passed, rows, self.line_hashes)
        return files.tally


class LineKeys:
    """Takes the keys of a shard's lines; each line's first key stays, the others are repeats.

    Attributes:
        claims: pages that claim lines, in the order of their lines: the columns of `CLAIMED`.
        line: number of the next line.
    """

    def __init__(self, kept: SortedKeys, repeats: pa.RecordBatchFileWriter):
        self._kept, self._repeats = kept, repeats
        self.claims: list[list[np.ndarray]] = [[np.empty(0, np.uint32)] * len(CLAIMED)]
        self.line = 0

    def claim(self, pages: Sequence[Page], rows: Rows, line_hashes: LineHashes) -> None:
        """Takes the lines of pages, which have these rows."""
        keys = line_keys_of(pages, line_hashes, self.line)
        lines = np.array([page.text.count("\n") + 1 for page in pages], np.uint32)
        first = (self.line + np.cumsum(lines) - lines).astype(np.uint32)
        self.add(keys)
        self.claims.append([rows, first, lines])
        self.line += len(keys)

    def add(self, keys: Shaped[np.ndarray, " lines"]) -> None:
        """Takes more keys. Equal ones leave at once: all empty lines would be one range."""
        self._kept.add(self._without_repeats(keys))

    def ranges(self) -> Iterator[Shaped[np.ndarray, " lines"]]:
        """Yields one key per line, in the order of their hashes."""
        return map(self._without_repeats, self._kept.ranges())

    def _without_repeats(self, keys: Shaped[np.ndarray, " lines"]) -> Shaped[np.ndarray, " kept"]:
        hashes = np.stack((keys["first"], keys["second"]), axis=1)
        stays = line_dedup.surviving_lines(hashes, keys["rank"], keys["line"].astype(np.uint64))
        self._repeats.write_batch(_batch(keys[~stays]))
        return keys[stays]


def _batch(keys: Shaped[np.ndarray, " lines"]) -> pa.RecordBatch:
    return spills.arrow_batch(LINE_KEYS, [keys[name] for name in LINE_KEYS.names])


@contextmanager
def line_keys(workspace: Workspace, shard: int, partitions: int) -> Iterator[LineKeys]:
    """Takes keys within the block, and then writes them: one per line, and apart the repeats.

    Writes the pages that claim these lines, too.
    """
    with (
        temporary_folder() as scratch,
        spills.writer(workspace, repeats_path(workspace, shard), LINE_KEYS) as repeats,
    ):
        keys = LineKeys(SortedKeys(LINE_KEY, scratch, partitions), repeats)
        yield keys
        with spills.writer(workspace, line_keys_path(workspace, shard), LINE_KEYS) as file:
            for batch in keys.ranges():
                file.write_batch(_batch(batch))
        claims = map(np.concatenate, zip(*keys.claims, strict=True))
        spills.write(workspace, claims_path(workspace, shard), CLAIMED, claims)


def line_keys_of(
    pages: Sequence[Page], line_hashes: LineHashes, first_line: int
) -> Shaped[np.ndarray, " lines"]:
    """Returns the key of each line of a chunk's pages."""
    by_page = [line_hashes(page.text) for page in pages]
    hashes = line_dedup.as_numbers([digest for digests in by_page for digest in digests])
    ranks = np.array([line_dedup.rank_of(page.url) for page in pages], np.uint64)
    keys = np.empty(len(hashes), LINE_KEY)
    keys["first"], keys["second"] = hashes.T
    keys["rank"] = np.repeat(ranks, list(map(len, by_page)))
    keys["line"] = numbers_from(first_line, len(hashes))
    return keys


def line_keys_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's keys."""
    return workspace.spill(SpillLineKeys.name, shard, ".keys")


def repeats_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the keys of lines that another line of the shard represents."""
    return workspace.spill(SpillLineKeys.name, shard, ".repeats")


def claims_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the pages of a shard whose lines are compared."""
    return workspace.spill(SpillLineKeys.name, shard, ".claims")


CLAIM = np.dtype([("first", "<u8"), ("third", "<u4"), ("rank", "<u8")])  # 20 bytes
SHORT = np.dtype("<u4")
HASHES_AT_ONCE = 1 << 24  # of a partition, compared in memory: 64 MB
CLAIMS_AT_ONCE = 1 << 22  # 84 MB


@dataclass(frozen=True)
class FindRepeatedHashes:
    """First exchange: marks the keys whose short hash another key of the partition has."""

    workspace: Workspace
    waves: Waves

    name = "repeated"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the short hashes of a shard's keys, by partition."""
        path, partitions = line_keys_path(self.workspace, shard), self.waves.partitions
        for part in parts_of(path, partitions, wave):
            first = part.keys["first"].to_numpy()
            yield from by_partition(self._short(first), first, part, partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard which of its hashes occur more than once in the partition."""
        count = sum(len(part) // SHORT.itemsize for _, part in parts)
        ranges = sub_ranges(count, HASHES_AT_ONCE, 8 * SHORT.itemsize)
        repeats = np.concatenate([_repeated_in(parts, *limits) for limits in ranges])
        for shard, part in parts:
            yield shard, packed_mask(is_among(np.frombuffer(part, SHORT), repeats))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the masks of a shard's keys."""
        write_masks(self.workspace, verdict_path(self, shard, wave), verdicts)

    def _short(self, hashes: np.ndarray) -> UInt32[np.ndarray, " keys"]:
        """Returns the 32 bits after those that name the partition."""
        bits = np.uint64(self.waves.partitions.bit_length() - 1)
        return ((hashes << bits) >> np.uint64(32)).astype(SHORT)


def _repeated_in(parts: Iterable[tuple[int, bytes]], first: int, end: int) -> np.ndarray:
    of_range = [np.empty(0, SHORT)]
    for _, part in parts:
        hashes = np.frombuffer(part, SHORT)  # in ascending order
        begin, stop = between(hashes, first, end, 32)
        of_range.append(hashes[begin:stop])
    return repeated_numbers(np.concatenate(of_range))


@dataclass(frozen=True)
class FindDuplicateLines:
    """Second exchange: marks the keys, of those marked before, whose line another shard keeps."""

    workspace: Workspace
    waves: Waves

    name = "duplicate"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the claims of a shard's marked keys, by partition."""
        for part, marked in self.marked_keys(shard, wave):
            columns = {name: part.keys[name].to_numpy()[marked] for name in LINE_KEYS.names}
            claims = np.empty(int(marked.sum()), CLAIM)
            claims["first"], claims["rank"] = columns["first"], columns["rank"]
            claims["third"] = columns["second"] >> np.uint64(32)
            yield from by_partition(claims, columns["first"], part, self.waves.partitions)

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields for each shard which of its claims are lost: all but one of a line."""
        count = sum(len(part) // CLAIM.itemsize for _, part in parts)
        lost: dict[int, list[np.ndarray]] = {shard: [] for shard, _ in parts}
        width, start = self.waves.width, partition * self.waves.width
        for first, end in sub_ranges(count, CLAIMS_AT_ONCE, width.bit_length() - 1):
            for shard, mask in _lost_in(parts, start + first, start + end):
                lost[shard].append(mask)
        for shard, masks in lost.items():
            yield shard, packed_mask(np.concatenate(masks))

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the masks of a shard's claims."""
        write_masks(self.workspace, verdict_path(self, shard, wave), verdicts)

    def marked_keys(
        self, shard: int, wave: Wave
    ) -> Iterator[tuple[PartitionKeys, Bool[np.ndarray, " keys"]]]:
        """Yields a shard's keys with the mask of the first exchange."""
        repeated, partitions = FindRepeatedHashes(self.workspace, self.waves), self.waves.partitions
        masks = read_masks(verdict_path(repeated, shard, wave))
        for part in parts_of(line_keys_path(self.workspace, shard), partitions, wave):
            yield part, mask_over(part.keys["first"].to_numpy(), part, partitions, masks)


def _lost_in(
    parts: Iterable[tuple[int, bytes]], first: int, end: int
) -> Iterator[tuple[int, Bool[np.ndarray, " claims"]]]:
    """Yields for each shard which of its claims with hashes of a range are lost."""
    claims, shards = [np.empty(0, CLAIM)], []
    for shard, part in parts:
        of_shard = np.frombuffer(part, CLAIM)
        begin, stop = between(of_shard["first"], first, end, 64)
        claims.append(of_shard[begin:stop])
        shards.append(shard)
    counts = list(map(len, claims[1:]))
    of_range = np.concatenate(claims)
    hashes = np.stack((of_range["first"], of_range["third"].astype(np.uint64)), axis=1)
    numbers = np.repeat(np.array(shards, np.uint64), counts)
    lost = ~line_dedup.surviving_lines(hashes, of_range["rank"], numbers)
    yield from zip(shards, np.split(lost, np.cumsum(counts)[:-1]), strict=True)


def duplicate_lines(exchange: FindDuplicateLines, shard: int) -> UInt32[np.ndarray, " lines"]:
    """Returns the numbers of the lines that a shard's pages do not keep, sorted."""
    repeats = spills.batches(repeats_path(exchange.workspace, shard))
    lines = [batch["line"].to_numpy() for batch in repeats]
    for wave in exchange.waves.all():
        lost = read_masks(verdict_path(exchange, shard, wave))
        for part, marked in exchange.marked_keys(shard, wave):
            hashes, numbers = (part.keys[name].to_numpy()[marked] for name in ("first", "line"))
            lines.append(numbers[mask_over(hashes, part, exchange.waves.partitions, lost)])
    numbers = np.concatenate(lines)
    numbers.sort()
    return numbers
