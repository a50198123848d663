"""The segments of a run whose mixture changes: which window each example of a segment shows.

A segment begins at an example and has a schedule and token blocks. Example i of a run is a function
of the segments up to i: a later one changes nothing before it. A language continues where the
earlier segments left off; the position is computed (`laps`), never saved. If other blocks of a
language begin with the earlier ones, by checksum, the rest of the current epoch and the added text
are read in turns. Otherwise the language starts over with the new blocks.
docs/decisions/changing-mixture.md has the reasons.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.errors import DataError
from data.examples.laps import Laps
from data.examples.readings import Piece, Reading, continued, joined
from data.examples.schedule import LANES, Draws, Schedule
from data.examples.seeds import hash_seed
from data.examples.window_order import WindowOrder, most_parts, parts_of
from data.tokens.block_files import BlockFile
from data.tokens.blocks import TokenBlocks, TokenStream
from data.tokens.manifest import Shard

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
