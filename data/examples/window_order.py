"""The order of windows: which window of its language each example shows, each once per epoch.

    ordinal -> epoch and place      (number of earlier passes over the part)
    place -> section and window     (sections are permuted, and the windows within each)
    epoch -> offset                 (each epoch cuts the ring of tokens elsewhere)

A language below 2**25 tokens is one part of one section: its windows are permuted in each epoch. A
larger one has up to 256 parts, each read by its own lanes (`mixture`), and a part is read section
by section, about 16 million tokens each. At any time only a few blocks of each language are read,
as an object store requires. The result is still a shuffle: 256 parts are read at once, each within
one of its sections.

The parts that one host's lanes read are adjacent: part p is the region whose number has p's bits in
reverse. The numbers of all parts of host h end in the same bits, so those of their regions begin
with the same bits.

The permutation takes constant time and no memory: a Feistel network over the smallest even number
of bits that holds n, with cycle walking until the value is below n (fewer than 4 steps on average),
for many elements at once. For every seed it is a permutation of [0, n): each index appears exactly
once per epoch. The round function is a 32-bit multiplicative mix (murmur3's finalizer), sufficient
for shuffling only.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt64

from data.examples.mixture import LANES, Draws, Schedule
from data.numbers import hash_seeds

ROUNDS = 4  # Luby and Rackoff (1988): 4 rounds make a strong pseudo-random permutation
WINDOWS, OFFSETS, INSIDE = 1, 2, 4  # purposes of random numbers, with different seeds
SECTION_TOKENS = 2**24  # 29,537 windows of 568; 60 MB of blocks, or 120 with four bytes per id
LEAST_QUOTA = 16  # of a part per block of examples: shares of parts differ by less than 1/16


@dataclass(frozen=True)
class WindowOrder:
    """The order of the windows of all languages.

    Attributes:
        tokens: number of tokens of each language.
        raw: number of tokens per window.
        schedule: schedule with languages divided by `parts_of`.
        seed: seed of the order.
    """

    tokens: Int[np.ndarray, " languages"]
    raw: int
    schedule: Schedule
    seed: int

    @cached_property
    def windows(self) -> Int[np.ndarray, " languages"]:
        """Number of windows per epoch of each language."""
        return -(-self.tokens // self.raw)

    def starts(self, draws: Draws) -> Int[np.ndarray, " examples"]:
        """Returns the start of each example's window in its language's tokens."""
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
        """Returns permuted places within parts of `count` windows, by the seeds."""
        sections = np.maximum(count * self.raw // SECTION_TOKENS, 1)
        size = count // sections
        rank, inside = np.divmod(places, size)
        section = permute(np.minimum(rank, sections - 1), sections, seeds)
        inside = permute(inside, size, hash_seeds(INSIDE, seeds, section))
        # Sections have one size, so a few windows remain; they end the epoch, unpermuted.
        return np.where(rank < sections, section * size + inside, places)

    @cached_property
    def regions(self) -> Int[np.ndarray, "languages lanes"]:
        """Region of each part: the part's number with its bits reversed."""
        regions = np.zeros((len(self.tokens), LANES), np.int64)
        for language, parts in enumerate(self.schedule.parts):
            regions[language, :parts] = reversed_bits(parts)
        return regions

    @cached_property
    def counts(self) -> Int[np.ndarray, "languages lanes"]:
        """Number of windows per epoch of each part."""
        rows = np.arange(len(self.tokens))[:, None]
        return self.bounds[rows, self.regions + 1] - self.bounds[rows, self.regions]

    @cached_property
    def bounds(self) -> Int[np.ndarray, "languages bounds"]:
        """First window of each region, whose size is proportional to its part's quota.

        A later segment keeps the regions of the first. If the language's share is too low for as
        many parts, fewer read them, each several: the regions then have one size.
        """
        bounds = np.zeros((len(self.tokens), LANES + 1), np.int64)
        for language, parts in enumerate(self.schedule.parts):
            quotas = self.schedule.part_quotas[language, reversed_bits(parts)]
            if parts > 1 and quotas.min() < LEAST_QUOTA:
                quotas = np.ones(parts, np.int64)
            ends = self.windows[language] * np.cumsum(quotas) // quotas.sum()
            bounds[language, 1 : parts + 1] = ends
        return bounds


def parts_of(tokens: int, quota: int) -> int:
    """Returns the number of parts of a language: a power of two, at most the lanes."""
    return min(_power_of_two(tokens // SECTION_TOKENS), most_parts(quota))


def most_parts(quota: int) -> int:
    """Returns the largest number of parts that a language's quota per block can serve."""
    return min(_power_of_two(quota // LEAST_QUOTA), LANES)


def _power_of_two(most: int) -> int:
    """Returns the largest power of two up to `most`, at least 1."""
    return 1 << (max(most, 1).bit_length() - 1)


def reversed_bits(count: int) -> Int[np.ndarray, " count"]:
    """Returns 0, 1, ..., count - 1 with reversed bits, for a power of two; its own inverse."""
    reversed_ = np.zeros(1, np.int64)
    while len(reversed_) < count:
        reversed_ = np.concatenate([2 * reversed_, 2 * reversed_ + 1])
    return reversed_


def permute(
    indices: Int[np.ndarray, " indices"],
    sizes: Int[np.ndarray, " indices"],
    seeds: UInt64[np.ndarray, " indices"],
) -> Int[np.ndarray, " indices"]:
    """Returns the image of each index under the permutation of [0, size) with its seed.

    Each element has its own permutation, so windows of many languages need one call.

    Raises:
        ValueError: if an index is not in [0, size).
    """
    if np.any((indices < 0) | (indices >= sizes)):
        raise ValueError(f"Indices {indices} are not all in [0, size) of {sizes}.")
    bits = np.frexp(sizes - 1)[1]  # bits of size - 1, or one more, which is as good
    half_bits = np.maximum((bits + 1) // 2, 1).astype(np.uint64)
    steps = np.arange(ROUNDS, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B9)
    keys = _mix(seeds ^ _mix((seeds >> np.uint64(32)) + steps))  # one per round and index
    values = _feistel(indices.astype(np.uint64), half_bits, keys)
    while len(outside := np.flatnonzero(values >= sizes.astype(np.uint64))):
        values[outside] = _feistel(values[outside], half_bits[outside], keys[:, outside])
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half_bits: np.ndarray, keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half_bits) | right


def _mix(values: np.ndarray) -> np.ndarray:
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(16)
    values = values & low
    values = values ^ (values >> shift)
    values = values * np.uint64(0x85EBCA6B) & low
    values = values ^ (values >> np.uint64(13))
    values = values * np.uint64(0xC2B2AE35) & low
    return values ^ (values >> shift)
