"""Arrays of numbers: equal ones, counted or kept once; unrelated hashes of related numbers.

Equal numbers are found by sorting: NumPy's `unique` fills a table of hashes first, which takes 50
times as long for a million random numbers.

Hashes and seeds: each number is added to the state, and the state is mixed by SplitMix64's
finalizer. That suffices for keys of Philox and of the Feistel permutation, and for nothing secret.
It takes 30 ns per seed; numpy's SeedSequence, which makes one at a time, takes 10 us.
Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer, Shaped, UInt64


def splitmix64(values: UInt64[np.ndarray, "*some"]) -> UInt64[np.ndarray, "*some"]:
    """Returns mixed numbers: every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def has_equal(numbers: Shaped[np.ndarray, " numbers"]) -> Bool[np.ndarray, " numbers"]:
    """Returns which numbers have an equal one elsewhere in the array."""
    order = np.argsort(numbers)
    ordered = numbers[order]
    same_as_next = ordered[1:] == ordered[:-1]
    mask = np.zeros(len(numbers), dtype=bool)
    mask[order[1:][same_as_next]] = True
    mask[order[:-1][same_as_next]] = True
    return mask


def repeated_numbers(numbers: Shaped[np.ndarray, " numbers"]) -> Shaped[np.ndarray, " repeated"]:
    """Returns the numbers that occur more than once, each once, in ascending order."""
    ordered = np.sort(numbers)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return again[is_first(again)]


def distinct(
    numbers: Shaped[np.ndarray, " numbers"],
) -> Shaped[np.ndarray, " distinct"]:
    """Returns each number once, in ascending order."""
    ordered = np.sort(numbers)
    return ordered[is_first(ordered)]


def distinct_pairs(
    left: Shaped[np.ndarray, " pairs"], right: Shaped[np.ndarray, " pairs"]
) -> tuple[Shaped[np.ndarray, " distinct"], Shaped[np.ndarray, " distinct"]]:
    """Returns each pair once, in ascending order."""
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    first = is_first(left, right)
    return left[first], right[first]


def is_first(*columns: Shaped[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Returns which rows, equal ones side by side, differ from the one before in any column."""
    first = np.ones(len(columns[0]), dtype=bool)
    first[1:] = False
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    return first


def lengths_of(first: Bool[np.ndarray, " rows"]) -> Int64[np.ndarray, " groups"]:
    """Returns how many equal rows each first one begins."""
    return np.diff(np.flatnonzero(first), append=len(first))


def is_among(
    numbers: Shaped[np.ndarray, " numbers"], ascending: Shaped[np.ndarray, " others"]
) -> Bool[np.ndarray, " numbers"]:
    """Returns which numbers are among others, which are in ascending order."""
    if not len(ascending):
        return np.zeros(len(numbers), dtype=bool)
    places = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
    return ascending[places] == numbers


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_seeds(*parts: int | Integer[np.ndarray, " some"]) -> UInt64[np.ndarray, " _"]:
    """Returns a 64-bit seed for each tuple of numbers; single numbers are broadcast."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        numbers = np.atleast_1d(np.asarray(part)).astype(np.uint64)
        state = splitmix64(state + numbers + GOLDEN)
    return state


def hash_seed(*parts: int) -> int:
    """Returns the seed of one tuple of numbers."""
    return int(hash_seeds(*parts)[0])


class Equal(NamedTuple):
    """Places whose hash occurs more than once: those of one hash together, in ascending order.

    Attributes:
        places: indices in the array.
        groups: number of the hash at each place.
    """

    places: Int64[np.ndarray, " equal"]
    groups: Int64[np.ndarray, " equal"]

    @property
    def is_first(self) -> Bool[np.ndarray, " equal"]:
        """Whether each place is the first one of its hash."""
        return is_first(self.groups)


def equal(hashes: UInt64[np.ndarray, " hashes"]) -> Equal:
    """Returns the places of hashes that occur more than once.

    Sorting values takes a fraction of the time of sorting indices, so the low bits of each hash are
    replaced by its index before the sort. For 2^18 hashes, 46 bits of each hash remain. Different
    hashes share these bits, and count as equal, in one of 2,000 such arrays.
    """
    bits = np.uint64(max(len(hashes) - 1, 1).bit_length())
    order = np.sort(hashes >> bits << bits | np.arange(len(hashes), dtype=np.uint64))
    same = np.diff(order >> bits) == 0
    occurs = np.zeros(len(hashes), bool)
    occurs[1:] = same
    occurs[:-1] |= same
    first = occurs.copy()
    first[1:] &= ~same
    places = (order & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    return Equal(places[occurs], np.cumsum(first)[occurs] - 1)
