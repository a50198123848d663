"""Training examples: example i is a pure function of (blocks, mixtures, seed, i).

    i -> language, part, ordinal    (mixture: fixed quotas, constant time)
    ordinal -> window               (window_order: each once per epoch, permuted; where the mixture
                                     has changed, on from where it was: segments)
    window -> tokens                (a language is a ring of tokens: no window is short)
    tokens, i -> inputs, targets    (span corruption by Philox with counter i: no shared state)

There is no filter, no shuffle buffer, and no dependence on hosts, workers or devices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from data.examples.mixture import Schedule
from data.examples.segments import Mixture, MixtureSegment, segments_of
from data.examples.span_corruption import Lengths, corrupt_rows, random_numbers
from data.files.paths import Place
from data.numbers import hash_seed
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE

SPANS = 3  # purpose of random numbers, distinct from those of `window_order`


class Exposure(NamedTuple):
    """The text of one language that a run reads.

    Attributes:
        weight: share of all examples.
        examples: number of examples.
        tokens_seen: number of tokens of text.
        epochs: how often all of its training text is read.
    """

    weight: float
    examples: int
    tokens_seen: int
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Examples:
    """An endless, indexable sequence of training examples.

    Attributes:
        blocks: token blocks.
        schedule: language of each example.
        lengths: lengths of the raw window, the inputs and the targets.
        first_sentinel: id of `<extra_id_0>`.
        seed: seed of windows and spans.
        later: mixtures that follow, each from one example on.
    """

    blocks: TokenBlocks
    schedule: Schedule
    lengths: Lengths
    first_sentinel: int
    seed: int
    later: tuple[Mixture, ...] = ()

    def __post_init__(self):
        _ = self.segments  # a language without tokens is found before the first example

    @cached_property
    def segments(self) -> list[MixtureSegment]:
        """The segments of examples, each with one mixture."""
        mixtures = [Mixture(0, self.schedule, self.blocks), *self.later]
        return segments_of(mixtures, self.lengths.raw, self.seed)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of all segments, by which the examples' `language` counts."""
        codes = (code for segment in self.segments for code in segment.schedule.languages)
        return tuple(dict.fromkeys(codes))

    def take(self, indices: Int[np.ndarray, " examples"]) -> dict[str, np.ndarray]:
        """Returns the examples of these indices, one row each; a row depends on its index only."""
        windows = np.empty((len(indices), self.lengths.raw), np.int32)
        languages = np.empty(len(indices), np.int32)
        for segment, rows in self.by_segment(indices):
            places = segment.windows(indices[rows])
            languages[rows] = self.numbers(segment)[places.languages]
            for stream, part in segment.by_stream(places):
                starts = places.starts[part].tolist()
                windows[rows[part]] = stream.read_windows(starts, self.lengths.raw)
        corrupted = corrupt_rows(windows, self.random_bits(indices), self.first_sentinel)
        return {**corrupted._asdict(), "language": languages}

    def by_segment(
        self, indices: Int[np.ndarray, " examples"]
    ) -> Iterator[tuple[MixtureSegment, Int[np.ndarray, " rows"]]]:
        """Yields each segment that has some of these examples, and their positions."""
        firsts = np.array([segment.first for segment in self.segments])
        numbers = np.searchsorted(firsts, indices, side="right") - 1
        for number in np.unique(numbers).tolist():
            yield self.segments[number], np.flatnonzero(numbers == number)

    def numbers(self, segment: MixtureSegment) -> Int[np.ndarray, " languages"]:
        """Returns the position in `languages` of each language of a segment."""
        numbers = {code: number for number, code in enumerate(self.languages)}
        return np.array([numbers[code] for code in segment.schedule.languages])

    def prefetch(self, indices: Int[np.ndarray, " examples"]) -> None:
        """Starts fetching the blocks of examples, if they are on an object store."""
        for segment, rows in self.by_segment(indices):
            files = segment.blocks.files
            if files.staged:
                files.prefetch(segment.files(indices[rows], self.lengths.raw))

    @property
    def vocabulary(self) -> Place:
        """File of the SentencePiece model that made the ids."""
        return self.blocks.directory / MODEL_FILE

    def exposure(self, count: int) -> dict[str, Exposure]:
        """Returns how much of each language the first `count` examples are."""
        examples, epochs = dict.fromkeys(self.languages, 0.0), dict.fromkeys(self.languages, 0.0)
        ends = [*(segment.first for segment in self.segments[1:]), count]
        for segment, end in zip(self.segments, ends, strict=True):
            length = max(min(end, count) - segment.first, 0)
            tokens = segment.blocks.counts("train", "tokens")
            for code in segment.schedule.languages:
                shown = segment.schedule.share(code) * length
                examples[code] += shown
                epochs[code] += shown * self.lengths.raw / tokens[code]
        return {
            code: Exposure(n / count, round(n), round(n * self.lengths.raw), epochs[code])
            for code, n in examples.items()
        }

    def __repr__(self) -> str:
        return f"{self.blocks.directory}, seed={self.seed}"

    def random_bits(
        self, indices: Int[np.ndarray, " examples"]
    ) -> UInt64[np.ndarray, "examples numbers"]:
        """Returns the random numbers for the spans of each example, one row each."""
        philox = np.random.Philox(key=hash_seed(self.seed, SPANS))
        state, count = philox.state, random_numbers(self.lengths.raw)
        bits = np.empty((len(indices), count), np.uint64)
        for row, index in enumerate(indices.tolist()):
            state["state"]["counter"][:] = 0, 0, index, 0  # a stream of 2**128 numbers per example
            philox.state = state  # 2 us; a new generator reads entropy from the system: 18 us
            bits[row] = philox.random_raw(count)
        return bits
