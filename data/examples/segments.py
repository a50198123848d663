"""The segments of a run whose mixture changes: from an example on, other weights or other blocks.

Example i of a run is a function of the segments up to i: a later one changes nothing before it. A
language continues where the earlier segments left off; the position is computed (`laps`), never
saved. If other blocks of a language begin with the earlier ones, by checksum, the rest of the
current epoch and the added text are read in turns. Otherwise the language starts over with the new
blocks. docs/decisions/changing-mixture.md has the reasons.

    ordinal -> lap and rank       (the first lap is shorter)
    rank -> piece and its rank    (pieces take turns evenly, so that new text is not kept for last)
    rank -> region and place      (the regions of a piece follow each other)

A language consists of pieces: its token blocks, and what later directories added to them. A piece
is divided into regions (`window_order`), of which each was read up to some window. The regions are
dealt to the parts that are drawn now, of which there may be fewer. A part's first lap ends the
present epoch: what is left of each of its regions. Every further lap is an epoch.

Counts follow by integer arithmetic, whatever the number of examples before. No window is read twice
before its region's epoch ends. Regions of one part end their epochs together.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.errors import DataError
from data.examples.mixture import LANES, Draws, Schedule
from data.examples.window_order import WindowOrder, most_parts, parts_of
from data.numbers import hash_seed
from data.tokens.block_files import BlockFile
from data.tokens.blocks import TokenBlocks, TokenStream
from data.tokens.manifest import Shard

SEGMENT = 5  # purpose of random numbers


class Located(NamedTuple):
    """Where examples are: piece, region, and number of windows of that region read before."""

    pieces: Int[np.ndarray, " examples"]
    regions: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Laps:
    """The laps of one language.

    Attributes:
        counts: number of windows of each region.
        read: number of windows of each region read before.
        parts: number of parts that are drawn; it divides the number of regions.
    """

    counts: Int[np.ndarray, "pieces regions"]
    read: Int[np.ndarray, "pieces regions"]
    parts: int

    def locate(
        self, parts: Int[np.ndarray, " examples"], ordinals: Int[np.ndarray, " examples"]
    ) -> Located:
        """Returns where examples are, from their parts and their ordinals within these."""
        first = self.rest.sum((1, 2))[parts]
        begun = ordinals < first
        laps, ranks = np.divmod(ordinals - first, self.dealt_counts.sum((1, 2))[parts])
        ranks = np.where(begun, ordinals, ranks)
        sizes = np.where(begun[:, None, None], self.rest[parts], self.dealt_counts[parts])
        pieces, dealt, places = places_in_turns(sizes, ranks)
        epochs = np.where(begun, 0, self.epochs[parts] + 1 + laps)
        region = parts, pieces, dealt
        before = np.where(begun, self.dealt_read[region], epochs * self.dealt_counts[region])
        return Located(pieces, dealt * self.parts + parts, before + places)

    def after(self, drawn: Int[np.ndarray, " parts"]) -> Int[np.ndarray, "pieces regions"]:
        """Returns the number of windows of each region read once `drawn` examples were."""
        first = self.rest.sum((1, 2))
        begun = (drawn < first)[:, None, None]
        laps, ranks = np.divmod(drawn - first, self.dealt_counts.sum((1, 2)))
        sizes = np.where(begun, self.rest, self.dealt_counts)
        counts = counts_in_turns(sizes, np.where(drawn < first, drawn, ranks))
        epochs = (self.epochs + 1 + laps)[:, None, None] * self.dealt_counts
        read = np.where(begun, self.dealt_read, epochs) + counts
        return read.transpose(1, 2, 0).reshape(self.read.shape)

    @cached_property
    def epochs(self) -> Int[np.ndarray, " parts"]:
        """Latest epoch that a region of each part has begun; one that has just ended counts."""
        counts = self.dealt_counts
        begun = (np.maximum(self.dealt_read, 1) - 1) // np.maximum(counts, 1)
        return begun.max((1, 2), where=counts > 0, initial=0)

    @cached_property
    def rest(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows that are left of the present epoch."""
        return (self.epochs[:, None, None] + 1) * self.dealt_counts - self.dealt_read

    @cached_property
    def dealt_counts(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region, by the part that reads it."""
        return self._deal(self.counts)

    @cached_property
    def dealt_read(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region read before, by the part that reads it."""
        return self._deal(self.read)

    def _deal(
        self, numbers: Int[np.ndarray, "pieces regions"]
    ) -> Int[np.ndarray, "parts pieces dealt"]:
        return numbers.reshape(len(numbers), -1, self.parts).transpose(2, 0, 1)


def places_in_turns(
    sizes: Int[np.ndarray, "examples pieces dealt"], ranks: Int[np.ndarray, " examples"]
) -> tuple[
    Int[np.ndarray, " examples"], Int[np.ndarray, " examples"], Int[np.ndarray, " examples"]
]:
    """Returns piece, region and place of each rank, where pieces take turns evenly.

    Of the first r of all T windows, floor(r x O / T) are of the O windows of earlier pieces.
    """
    totals = sizes.sum(2)
    pieces, places = np.zeros_like(ranks), ranks
    undecided = np.ones(len(ranks), bool)
    for piece in range(totals.shape[1] - 1, 0, -1):
        earlier, total = _windows_before(totals, piece)
        before = places * earlier // total
        here = undecided & (before == (places + 1) * earlier // total)
        places = np.where(here, places - before, np.where(undecided, before, places))
        pieces[here] = piece
        undecided &= ~here
    ends = np.take_along_axis(sizes, pieces[:, None, None], 1)[:, 0].cumsum(1)
    dealt = (ends <= places[:, None]).sum(1)
    starts = np.where(dealt > 0, ends[np.arange(len(ranks)), dealt - 1], 0)
    return pieces, dealt, places - starts


def counts_in_turns(
    sizes: Int[np.ndarray, "parts pieces dealt"], ranks: Int[np.ndarray, " parts"]
) -> Int[np.ndarray, "parts pieces dealt"]:
    """Returns how many of the first `ranks` windows of each part are in each region."""
    totals = sizes.sum(2)
    counts = np.zeros_like(totals)
    for piece in range(totals.shape[1] - 1, 0, -1):
        earlier, total = _windows_before(totals, piece)
        counts[:, piece] = ranks - ranks * earlier // total
        ranks = ranks - counts[:, piece]
    counts[:, 0] = ranks
    return np.clip(counts[:, :, None] - (sizes.cumsum(2) - sizes), 0, sizes)


def _windows_before(
    totals: Int[np.ndarray, "rows pieces"], piece: int
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Returns the windows of the pieces before one, and with it (1 where there are none)."""
    earlier = totals[:, :piece].sum(1)
    return earlier, np.maximum(earlier + totals[:, piece], 1)


class Piece(NamedTuple):
    """Adjacent shards of a language, which are read as one ring.

    Attributes:
        shards: the shards.
        order: order of windows; of several languages.
        row: the language's number in that order.
    """

    shards: tuple[Shard, ...]
    order: WindowOrder
    row: int


class ReadingPosition(NamedTuple):
    """How far a language is read.

    Attributes:
        pieces: its token blocks.
        read: number of windows of each region read so far.
    """

    pieces: tuple[Piece, ...]
    read: Int[np.ndarray, "pieces regions"]

    @property
    def counts(self) -> Int[np.ndarray, "pieces regions"]:
        """Number of windows of each region."""
        regions = self.read.shape[1]
        return np.stack([piece.order.counts[piece.row, :regions] for piece in self.pieces])

    @property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        return [shard for piece in self.pieces for shard in piece.shards]


class Mixture(NamedTuple):
    """A mixture from one example on.

    Attributes:
        first: first example.
        schedule: language of each example, counted from the first, with undivided languages.
        blocks: token blocks.
    """

    first: int
    schedule: Schedule
    blocks: TokenBlocks


class Windows(NamedTuple):
    """Where examples are read.

    Attributes:
        languages: positions in the segment's languages.
        pieces: pieces of these languages.
        starts: first token of each window in its piece.
    """

    languages: Int[np.ndarray, " examples"]
    pieces: Int[np.ndarray, " examples"]
    starts: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class MixtureSegment:
    """The examples from one change of the mixture to the next.

    Attributes:
        first: first example.
        schedule: language and part of each example, counted from the first.
        blocks: token blocks.
        readings: how far each language is read at the first example, including languages that were
            read earlier and are not in this mixture.
        anew: languages that start over, as their blocks do not begin with those read earlier.
    """

    first: int
    schedule: Schedule
    blocks: TokenBlocks
    readings: Mapping[str, ReadingPosition]
    anew: tuple[str, ...] = ()

    def windows(self, indices: Int[np.ndarray, " examples"]) -> Windows:
        """Returns the windows of examples of this segment."""
        languages, parts, ordinals = self.schedule.draw(indices - self.first)
        regions, pieces = parts.copy(), np.zeros_like(parts)
        ordinals += self.read_before[languages, parts]
        for language in np.intersect1d(languages, self.in_laps).tolist():
            rows = np.flatnonzero(languages == language)
            before = self.read_before[language, parts[rows]]
            located = self.laps[language].locate(parts[rows], ordinals[rows] - before)
            pieces[rows], regions[rows], ordinals[rows] = located
        orders, numbers = self.places[languages, pieces].T
        starts = np.empty_like(ordinals)
        for order in np.unique(orders).tolist():
            rows = orders == order
            draws = Draws(numbers[rows], regions[rows], ordinals[rows])
            starts[rows] = self.orders[order].starts(draws)
        return Windows(languages, pieces, starts)

    def by_stream(self, windows: Windows) -> Iterator[tuple[TokenStream, Int[np.ndarray, " rows"]]]:
        """Yields each token stream of these windows, and the positions of its windows."""
        most = self.places.shape[1]
        keys = windows.languages * most + windows.pieces
        for key in np.unique(keys).tolist():
            yield self.streams[key // most][key % most], np.flatnonzero(keys == key)

    def files(self, indices: Int[np.ndarray, " examples"], raw: int) -> list[BlockFile]:
        """Returns the files that the windows of `raw` tokens of examples are read from."""
        windows = self.windows(indices)
        return [
            shard.records
            for stream, rows in self.by_stream(windows)
            for shard in stream.shards_at(windows.starts[rows].tolist(), raw)
        ]

    def after(self, examples: int) -> dict[str, ReadingPosition]:
        """Returns how far every language is read after this many examples of the segment."""
        drawn = self.schedule.drawn(examples)
        readings = dict(self.readings)
        for language, laps in enumerate(self.laps):
            code, read = (
                self.schedule.languages[language],
                laps.after(drawn[language, : laps.parts]),
            )
            readings[code] = readings[code]._replace(read=read)
        return readings

    @cached_property
    def scheduled(self) -> list[ReadingPosition]:
        """How far each language of the schedule is read, in its order."""
        return [self.readings[code] for code in self.schedule.languages]

    @cached_property
    def streams(self) -> list[list[TokenStream]]:
        """Token streams by language and piece: the shards as they are, placed as they were read."""
        streams = []
        for code, reading in zip(self.schedule.languages, self.scheduled, strict=True):
            shards = iter(self.blocks.shards(code, "train"))  # pages may be skipped by now
            streams.append(
                [
                    self.blocks.stream_of(
                        [*itertools.islice(shards, len(piece.shards))], placed_by=piece.shards
                    )
                    for piece in reading.pieces
                ]
            )
        return streams

    @cached_property
    def laps(self) -> list[Laps]:
        """Laps by language."""
        return [
            Laps(reading.counts, reading.read, parts)
            for reading, parts in zip(self.scheduled, self.schedule.parts, strict=True)
        ]

    @cached_property
    def in_laps(self) -> Int[np.ndarray, " _"]:
        """Languages that are not merely read on, one region per part."""
        return np.array(
            [number for number, laps in enumerate(self.laps) if laps.read.size != laps.parts], int
        )

    @cached_property
    def read_before(self) -> Int[np.ndarray, "languages lanes"]:
        """Windows read before, of each part that is one region; 0 for the other languages."""
        read = np.zeros((len(self.laps), LANES), np.int64)
        for number, laps in enumerate(self.laps):
            if laps.read.size == laps.parts:
                read[number, : laps.parts] = laps.read[0]
        return read

    @cached_property
    def orders(self) -> list[WindowOrder]:
        """The orders of windows that pieces have, each once."""
        pieces = [piece for reading in self.scheduled for piece in reading.pieces]
        return list({id(piece.order): piece.order for piece in pieces}.values())

    @cached_property
    def places(self) -> Int[np.ndarray, "languages pieces 2"]:
        """Position in `orders`, and number in that order, of each piece."""
        numbers = {id(order): number for number, order in enumerate(self.orders)}
        most = max(len(reading.pieces) for reading in self.scheduled)
        places = np.zeros((len(self.laps), most, 2), np.int64)
        for language, reading in enumerate(self.scheduled):
            for number, piece in enumerate(reading.pieces):
                places[language, number] = numbers[id(piece.order)], piece.row
        return places


def segments_of(mixtures: Sequence[Mixture], raw: int, seed: int) -> list[MixtureSegment]:
    """Returns the segments of mixtures in the order of their first examples.

    Args:
        mixtures: the mixtures; the first begins at example 0.
        raw: number of tokens per window.
        seed: seed of the order of windows.

    Raises:
        DataError: if a mixture has a language without training tokens.
    """
    segments: list[MixtureSegment] = []
    for mixture in mixtures:
        before = segments[-1].after(mixture.first - segments[-1].first) if segments else {}
        segments.append(_segment(mixture, before, raw, seed))
    return segments


def _segment(
    mixture: Mixture, before: Mapping[str, ReadingPosition], raw: int, seed: int
) -> MixtureSegment:
    first, schedule, blocks = mixture
    if absent := set(schedule.languages) - set(blocks.languages("train")):
        raise DataError(
            f"The mixture contains {', '.join(sorted(absent))}, of which {blocks.address} holds "
            "no training tokens; leave them out or tokenize them."
        )
    old: dict[str, ReadingPosition] = {}
    added: list[tuple[Shard, ...]] = []
    regions: list[int] = []
    for code, quota in zip(schedule.languages, schedule.quotas, strict=True):
        shards = tuple(blocks.shards(code, "train"))
        if code in before and _continues(shards, before[code]):
            old[code] = before[code]
            added.append(shards[len(old[code].shards) :])
            regions.append(old[code].read.shape[1])
        else:
            added.append(shards)
            regions.append(parts_of(_tokens(shards), quota))
    divided = replace(schedule, parts=tuple(regions))
    tokens = np.maximum([_tokens(shards) for shards in added], 1)
    order = WindowOrder(tokens, raw, divided, _segment_seed(seed, first))
    readings = {
        code: add_piece(old.get(code), Piece(added[row], order, row), regions[row])
        for row, code in enumerate(schedule.languages)
    }
    parts = tuple(map(min, regions, map(most_parts, schedule.quotas)))
    drawn = replace(schedule, parts=parts, seed=_segment_seed(schedule.seed, first))
    anew = tuple(code for code in schedule.languages if code in before and code not in old)
    return MixtureSegment(first, drawn, blocks, {**before, **readings}, anew)


def _tokens(shards: Sequence[Shard]) -> int:
    return sum(shard.left("tokens") for shard in shards)


def _continues(shards: Sequence[Shard], old: ReadingPosition) -> bool:
    """Returns whether shards begin with those of a reading, by content, under whatever names.

    Each earlier piece must still have an unskipped page, as its windows are read from it alone.
    """
    first = 0
    for piece in old.pieces:
        part = shards[first : first + len(piece.shards)]
        is_same = [shard.sha256 for shard in part] == [shard.sha256 for shard in piece.shards]
        if not is_same or not _tokens(part):
            return False
        first += len(piece.shards)
    return True


def add_piece(old: ReadingPosition | None, piece: Piece, regions: int) -> ReadingPosition:
    """Returns the reading of a language with one more piece, unread in the present epoch."""
    if old is None:
        return ReadingPosition((piece,), np.zeros((1, regions), np.int64))
    if not _tokens(piece.shards):
        return old
    # Of a region whose epoch has just ended the next one: the new text is then read beside it.
    epoch = (old.read // np.maximum(old.counts, 1)).max(0)
    added = epoch * piece.order.counts[piece.row, :regions]
    return ReadingPosition((*old.pieces, piece), np.concatenate([old.read, added[None]]))


def _segment_seed(seed: int, first: int) -> int:
    """Returns the seed of a segment; a run's first has the run's own."""
    return hash_seed(seed, SEGMENT, first) if first else seed
