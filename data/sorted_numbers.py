"""Equal numbers of arrays: which ones there are, each once, and how many of each.

All of it is sorting: NumPy's `unique` fills a table of hashes first, which takes 50 times as long
for a million random numbers.
"""

import numpy as np
from jaxtyping import Bool, Int64, Shaped


def has_equal(numbers: Shaped[np.ndarray, " numbers"]) -> Bool[np.ndarray, " numbers"]:
    """Returns which numbers have an equal one elsewhere in the array."""
    order = np.argsort(numbers)
    ordered = numbers[order]
    same_as_next = ordered[1:] == ordered[:-1]
    found = np.zeros(len(numbers), dtype=bool)
    found[order[1:][same_as_next]] = True
    found[order[:-1][same_as_next]] = True
    return found


def repeated(numbers: Shaped[np.ndarray, " numbers"]) -> Shaped[np.ndarray, " repeated"]:
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
    one: Shaped[np.ndarray, " pairs"], other: Shaped[np.ndarray, " pairs"]
) -> tuple[Shaped[np.ndarray, " distinct"], Shaped[np.ndarray, " distinct"]]:
    """Returns each pair once, in ascending order."""
    order = np.lexsort((other, one))
    one, other = one[order], other[order]
    first = is_first(one, other)
    return one[first], other[first]


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
    numbers: Shaped[np.ndarray, " numbers"], some: Shaped[np.ndarray, " some"]
) -> Bool[np.ndarray, " numbers"]:
    """Returns which numbers are among `some`, which are in ascending order."""
    if not len(some):
        return np.zeros(len(numbers), dtype=bool)
    at = np.minimum(np.searchsorted(some, numbers), len(some) - 1)
    return some[at] == numbers
