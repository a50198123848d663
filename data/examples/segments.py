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
        among = begun[:, None, None]
        sizes = np.where(among, self.rest[parts], self.dealt_counts[parts])
        pieces, dealt, places = in_turns(sizes, ranks)
        epochs = np.where(begun, 0, self.epochs[parts] + 1 + laps)
        at = parts, pieces, dealt
        before = np.where(begun, self.dealt_read[at], epochs * self.dealt_counts[at])
        return Located(pieces, dealt * self.parts + parts, before + places)

    def after(self, drawn: Int[np.ndarray, " parts"]) -> Int[np.ndarray, "pieces regions"]:
        """Returns the number of windows of each region read once `drawn` examples were."""
        first = self.rest.sum((1, 2))
        begun = (drawn < first)[:, None, None]
        laps, ranks = np.divmod(drawn - first, self.dealt_counts.sum((1, 2)))
        sizes = np.where(begun, self.rest, self.dealt_counts)
        taken = taken_in_turns(sizes, np.where(drawn < first, drawn, ranks))
        epochs = (self.epochs + 1 + laps)[:, None, None] * self.dealt_counts
        read = np.where(begun, self.dealt_read, epochs) + taken
        return read.transpose(1, 2, 0).reshape(self.read.shape)

    @cached_property
    def epochs(self) -> Int[np.ndarray, " parts"]:
        """Latest epoch that a region of each part has begun."""
        counts = self.dealt_counts
        return (self.dealt_read // np.maximum(counts, 1)).max((1, 2), where=counts > 0, initial=0)

    @cached_property
    def rest(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows that are left of the present epoch."""
        return (self.epochs[:, None, None] + 1) * self.dealt_counts - self.dealt_read

    @cached_property
    def dealt_counts(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region, by the part that reads it."""
        return self._dealt(self.counts)

    @cached_property
    def dealt_read(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region read before, by the part that reads it."""
        return self._dealt(self.read)

    def _dealt(
        self, numbers: Int[np.ndarray, "pieces regions"]
    ) -> Int[np.ndarray, "parts pieces dealt"]:
        return numbers.reshape(len(numbers), -1, self.parts).transpose(2, 0, 1)


def in_turns(
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
        earlier, total = _sums(totals, piece)
        before = places * earlier // total
        here = undecided & (before == (places + 1) * earlier // total)
        places = np.where(here, places - before, np.where(undecided, before, places))
        pieces[here] = piece
        undecided &= ~here
    ends = np.take_along_axis(sizes, pieces[:, None, None], 1)[:, 0].cumsum(1)
    dealt = (ends <= places[:, None]).sum(1)
    starts = np.where(dealt > 0, ends[np.arange(len(ranks)), dealt - 1], 0)
    return pieces, dealt, places - starts


def taken_in_turns(
    sizes: Int[np.ndarray, "parts pieces dealt"], ranks: Int[np.ndarray, " parts"]
) -> Int[np.ndarray, "parts pieces dealt"]:
    """Returns how many of the first `ranks` windows of each part are in each region."""
    totals = sizes.sum(2)
    taken = np.zeros_like(totals)
    for piece in range(totals.shape[1] - 1, 0, -1):
        earlier, total = _sums(totals, piece)
        taken[:, piece] = ranks - ranks * earlier // total
        ranks = ranks - taken[:, piece]
    taken[:, 0] = ranks
    return np.clip(taken[:, :, None] - (sizes.cumsum(2) - sizes), 0, sizes)


def _sums(
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


class Reading(NamedTuple):
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
        return np.stack([one.order.counts[one.row, :regions] for one in self.pieces])

    @property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        return [shard for piece in self.pieces for shard in piece.shards]


def continued(
    languages: Sequence[str], before: Mapping[str, Reading], blocks: TokenBlocks
) -> list[str]:
    """Returns the languages whose blocks begin with those that were read before.

    Each earlier piece must still have an unskipped page, as its windows are read from it alone.
    """
    return [
        code
        for code in languages
        if code in before and _begins_with(blocks.shards(code, "train"), before[code])
    ]


def _begins_with(shards: Sequence[Shard], old: Reading) -> bool:
    """Returns whether shards begin with these contents, under whatever names."""
    first = 0
    for piece in old.pieces:
        here = shards[first : first + len(piece.shards)]
        same = [one.sha256 for one in here] == [one.sha256 for one in piece.shards]
        if not same or not sum(one.left("tokens") for one in here):
            return False
        first += len(piece.shards)
    return True


def joined(old: Reading | None, piece: Piece, regions: int) -> Reading:
    """Returns the reading of a language with one more piece, unread in the present epoch."""
    if old is None:
        return Reading((piece,), np.zeros((1, regions), np.int64))
    if not sum(shard.left("tokens") for shard in piece.shards):
        return old
    epoch = Laps(old.counts, old.read, regions).epochs
    added = epoch * piece.order.counts[piece.row, :regions]
    return Reading((*old.pieces, piece), np.concatenate([old.read, added[None]]))


SEGMENT = 5  # purpose of random numbers


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
class Segment:
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
    readings: Mapping[str, Reading]
    anew: tuple[str, ...] = ()

    def windows(self, indices: Int[np.ndarray, " examples"]) -> Windows:
        """Returns the windows of examples of this segment."""
        languages, parts, ordinals = self.schedule.draw(indices - self.first)
        regions, pieces = parts.copy(), np.zeros_like(parts)
        ordinals += self.read_before[languages, parts]
        for language in np.intersect1d(languages, self.in_laps).tolist():
            rows = np.flatnonzero(languages == language)
            before = self.read_before[language, parts[rows]]
            found = self.laps[language].locate(parts[rows], ordinals[rows] - before)
            pieces[rows], regions[rows], ordinals[rows] = found
        orders, numbers = self.places[languages, pieces].T
        starts = np.empty_like(ordinals)
        for order in np.unique(orders).tolist():
            rows = orders == order
            draws = Draws(numbers[rows], regions[rows], ordinals[rows])
            starts[rows] = self.orders[order].starts(draws)
        return Windows(languages, pieces, starts)

    def by_stream(self, windows: Windows) -> Iterator[tuple[TokenStream, Int[np.ndarray, " some"]]]:
        """Yields each token stream that some of these windows are of, and their positions."""
        most = self.places.shape[1]
        keys = windows.languages * most + windows.pieces
        for key in np.unique(keys).tolist():
            yield self.streams[key // most][key % most], np.flatnonzero(keys == key)

    def files(self, indices: Int[np.ndarray, " examples"], raw: int) -> list[BlockFile]:
        """Returns the files that the windows of `raw` tokens of examples are read from."""
        found = self.windows(indices)
        return [
            shard.records
            for stream, among in self.by_stream(found)
            for shard in stream.shards_at(found.starts[among].tolist(), raw)
        ]

    def after(self, examples: int) -> dict[str, Reading]:
        """Returns how far every language is read after this many examples of the segment."""
        drawn = self.schedule.drawn(examples)
        mine = {
            code: one._replace(read=laps.after(drawn[language, : laps.parts]))
            for language, (code, one, laps) in enumerate(
                zip(self.schedule.languages, self.of_schedule, self.laps, strict=True)
            )
        }
        return {**self.readings, **mine}

    @cached_property
    def of_schedule(self) -> list[Reading]:
        """How far each language of the schedule is read, in its order."""
        return [self.readings[code] for code in self.schedule.languages]

    @cached_property
    def streams(self) -> list[list[TokenStream]]:
        """Token streams by language and piece: the shards as they are, placed as they were read."""
        return [
            [*self._streams(self.blocks.shards(code, "train"), one)]
            for code, one in zip(self.schedule.languages, self.of_schedule, strict=True)
        ]

    def _streams(self, shards: Sequence[Shard], reading: Reading) -> Iterator[TokenStream]:
        """Yields the streams of a language's pieces, of which pages may be skipped by now."""
        first = 0
        for piece in reading.pieces:
            end = first + len(piece.shards)
            yield self.blocks.stream_of(shards[first:end], placed_by=piece.shards)
            first = end

    @cached_property
    def laps(self) -> list[Laps]:
        """Laps by language."""
        return [
            Laps(one.counts, one.read, parts)
            for one, parts in zip(self.of_schedule, self.schedule.parts, strict=True)
        ]

    @cached_property
    def in_laps(self) -> Int[np.ndarray, " some"]:
        """Languages that are not merely read on, one region per part."""
        return np.array(
            [number for number, one in enumerate(self.laps) if one.read.size != one.parts], int
        )

    @cached_property
    def read_before(self) -> Int[np.ndarray, "languages lanes"]:
        """Windows read before, of each part that is one region; 0 for the other languages."""
        found = np.zeros((len(self.laps), LANES), np.int64)
        for number, one in enumerate(self.laps):
            if one.read.size == one.parts:
                found[number, : one.parts] = one.read[0]
        return found

    @cached_property
    def orders(self) -> list[WindowOrder]:
        """The orders of windows that pieces have, each once."""
        found = {id(p.order): p.order for one in self.of_schedule for p in one.pieces}
        return list(found.values())

    @cached_property
    def places(self) -> Int[np.ndarray, "languages pieces 2"]:
        """Position in `orders`, and number in that order, of each piece."""
        numbers = {id(order): number for number, order in enumerate(self.orders)}
        most = max(len(one.pieces) for one in self.of_schedule)
        found = np.zeros((len(self.laps), most, 2), np.int64)
        for language, one in enumerate(self.of_schedule):
            for number, piece in enumerate(one.pieces):
                found[language, number] = numbers[id(piece.order)], piece.row
        return found


def segments_of(mixtures: Sequence[Mixture], raw: int, seed: int) -> list[Segment]:
    """Returns the segments of mixtures in the order of their first examples.

    Args:
        mixtures: the mixtures; the first begins at example 0.
        raw: number of tokens per window.
        seed: seed of the order of windows.

    Raises:
        DataError: if a mixture has a language without training tokens.
    """
    found: list[Segment] = []
    for mixture in mixtures:
        before = found[-1].after(mixture.first - found[-1].first) if found else {}
        found.append(_segment(mixture, before, raw, seed))
    return found


def _segment(mixture: Mixture, before: Mapping[str, Reading], raw: int, seed: int) -> Segment:
    first, schedule, blocks = mixture
    if absent := set(schedule.languages) - set(blocks.languages("train")):
        raise DataError(
            f"The mixture contains {', '.join(sorted(absent))}, of which {blocks.address} holds "
            "no training tokens; leave them out or tokenize them."
        )
    old = {code: before[code] for code in continued(schedule.languages, before, blocks)}
    added = {
        code: tuple(blocks.shards(code, "train"))[len(old[code].shards) if code in old else 0 :]
        for code in schedule.languages
    }
    tokens = np.array(
        [sum(shard.left("tokens") for shard in added[one]) for one in schedule.languages]
    )
    regions = tuple(
        old[code].read.shape[1] if code in old else parts_of(count, quota)
        for code, count, quota in zip(
            schedule.languages, tokens.tolist(), schedule.quotas, strict=True
        )
    )
    divided = replace(schedule, parts=regions)
    order = WindowOrder(np.maximum(tokens, 1), raw, divided, _key(seed, first))
    readings = {
        code: joined(old.get(code), Piece(added[code], order, row), regions[row])
        for row, code in enumerate(schedule.languages)
    }
    parts = tuple(map(min, regions, map(most_parts, schedule.quotas)))
    drawn = replace(schedule, parts=parts, seed=_key(schedule.seed, first))
    anew = tuple(code for code in schedule.languages if code in before and code not in old)
    return Segment(first, drawn, blocks, {**before, **readings}, anew)


def _key(seed: int, first: int) -> int:
    """Returns the seed of a segment; a run's first has the run's own."""
    return hash_seed(seed, SEGMENT, first) if first else seed
