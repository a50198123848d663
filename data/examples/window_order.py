"""Which window of its language each example shows: once an epoch each, in a local order.

    ordinal -> epoch and place      (how often the part was read before)
    place -> section and window     (sections are permuted, and the windows inside each)
    epoch -> offset                 (each epoch cuts the ring elsewhere)

A language below 2**25 tokens is one part of one section: a permutation of its windows for each
epoch. A larger one has up to 256 parts, each read by lanes of its own (`schedule`), and a part is
read section by section of some 16 million tokens. So what is read at one time is a few blocks of
each language, as an object store needs it, and still a shuffle: 256 parts at a time, in the middle
of 256 sections.

The parts that the lanes of one host read are neighbours: part p is region p with its bits
reversed, and as all parts of host h end in the same bits, their regions begin with the same bits.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt64

from data.examples.permutation import permute
from data.examples.schedule import LANES, Draws, Schedule
from data.examples.seeds import hash_seeds

WINDOWS, OFFSETS, INSIDE = 1, 2, 4  # purposes of random numbers, so that no two share a seed
SECTION_TOKENS = 2**24  # 29,537 windows of 568; 60 MB of blocks, or 120 with four bytes an id
LEAST_QUOTA = 16  # of a part in a block of examples: shares of parts differ by less than 1/16


@dataclass(frozen=True)
class WindowOrder:
    """The order in which the windows of all languages are shown.

    Attributes:
        tokens: of each language.
        raw: tokens of a window.
        schedule: with its languages divided; see `window_order`.
        seed: decides the order.
    """

    tokens: Int[np.ndarray, " languages"]
    raw: int
    schedule: Schedule
    seed: int

    @cached_property
    def windows(self) -> Int[np.ndarray, " languages"]:
        """How many windows make one epoch of each language."""
        return -(-self.tokens // self.raw)

    def starts(self, draws: Draws) -> Int[np.ndarray, " examples"]:
        """Returns where each example's window starts in its language's tokens."""
        languages, parts, ordinals = draws
        first = self.bounds[languages, self.regions[languages, parts]]
        count = self.bounds[languages, self.regions[languages, parts] + 1] - first
        epochs, places = np.divmod(ordinals, count)
        seeds = hash_seeds(self.seed, WINDOWS, languages, parts, epochs)
        room = np.minimum(self.tokens, SECTION_TOKENS).astype(np.uint64)
        offsets = hash_seeds(self.seed, OFFSETS, languages, epochs) % room[languages]
        return offsets.astype(np.int64) + (first + self._places(places, count, seeds)) * self.raw

    def _places(
        self,
        places: Int[np.ndarray, " examples"],
        count: Int[np.ndarray, " examples"],
        seeds: UInt64[np.ndarray, " examples"],
    ) -> Int[np.ndarray, " examples"]:
        """Permutes places within parts of `count` windows; the seed says how."""
        sections = np.maximum(count * self.raw // SECTION_TOKENS, 1)
        size = count // sections
        rank, inside = np.divmod(places, size)
        section = permute(np.minimum(rank, sections - 1), sections, seeds)
        inside = permute(inside, size, hash_seeds(INSIDE, seeds, section))
        # A few windows are left when sections have one size; they end the epoch as they lie.
        return np.where(rank < sections, section * size + inside, places)

    @cached_property
    def regions(self) -> Int[np.ndarray, "languages lanes"]:
        """Which region each part is: the bits of its number, reversed."""
        regions = np.zeros((len(self.tokens), LANES), np.int64)
        for language, parts in enumerate(self.schedule.parts):
            regions[language, :parts] = reversed_bits(parts)
        return regions

    @cached_property
    def bounds(self) -> Int[np.ndarray, "languages bounds"]:
        """First window of each region; as many windows as its part's quota says."""
        bounds = np.zeros((len(self.tokens), LANES + 1), np.int64)
        for language, parts in enumerate(self.schedule.parts):
            quotas = self.schedule.part_quotas[language, reversed_bits(parts)]
            ends = self.windows[language] * np.cumsum(quotas) // quotas.sum()
            bounds[language, 1 : parts + 1] = ends
        return bounds


def window_order(
    tokens: Int[np.ndarray, " languages"], raw: int, schedule: Schedule, seed: int
) -> WindowOrder:
    """Divides the languages of a schedule by their size, and orders their windows."""
    parts = tuple(
        parts_of(count, quota)
        for count, quota in zip(tokens.tolist(), schedule.quotas, strict=True)
    )
    return WindowOrder(tokens, raw, replace(schedule, parts=parts), seed)


def parts_of(tokens: int, quota: int) -> int:
    """Returns into how many parts a language is divided: a power of two, up to the lanes."""
    most = max(min(tokens // SECTION_TOKENS, quota // LEAST_QUOTA, LANES), 1)
    return 1 << (most.bit_length() - 1)


def reversed_bits(count: int) -> Int[np.ndarray, " count"]:
    """Returns 0, 1, ... with the bits reversed, for a power of two; it is its own inverse."""
    reversed_ = np.zeros(1, np.int64)
    while len(reversed_) < count:
        reversed_ = np.concatenate([2 * reversed_, 2 * reversed_ + 1])
    return reversed_
