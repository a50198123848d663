"""Decides whether two pages are similar: exactly, after a filter that rejects no similar pair.

A page is similar to one with as many shingles or more if their Jaccard similarity is at least 0.8,
or if 0.95 of its shingles are in the other. Numbers are compared as integers, without rounding.

The filter is a bitmap of 2,048 bits per page with a bit for each shingle's hash (Sandes, Teodoro
and Melo 2020, "Bitmap filter: speeding up exact set similarity joins with bitwise operations").
Each bit that only one of two pages has stands for a shingle that the other lacks, so

    |x ∩ y| <= |x| - |bits of x without y's|        and the same for y.
"""

from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from data.dedup.candidates import Candidates

JACCARD = (4, 5)
CONTAINED = (19, 20)
BITS = 2048
FILTERED = 1 << 15  # pairs that are filtered at once: 16 MB
MAPPED = 1 << 12  # pages whose bitmaps are made at once: 8 MB

Bitmaps = UInt64[np.ndarray, "pages words"]
Rows = Int64[np.ndarray, " pairs"]


class Similarity:
    """Compares pages with each other, given by their rows.

    Of a pair, `smaller` is the page with fewer distinct shingles, or one of two with as many.
    """

    def __init__(self, pages: Candidates) -> None:
        self._shingles = pages.shingles
        self._ends = pages.offsets
        self._sizes = np.diff(self._ends)
        self._maps = _bitmaps(pages.shingles, self._ends)

    def possible(self, smaller: Rows, larger: Rows) -> Bool[np.ndarray, " pairs"]:
        """Returns which pairs may be similar, by their sizes and bitmaps."""
        found = np.empty(len(smaller), bool)
        for first in range(0, len(smaller), FILTERED):
            some = slice(first, first + FILTERED)
            one, other = smaller[some], larger[some]
            found[some] = common_needed(self._sizes[one], self._sizes[other]) <= self._at_most(
                one, other
            )
        return found

    def similar(self, smaller: int, larger: int) -> bool:
        """Returns whether a pair is similar."""
        one, other = self._set(smaller), self._set(larger)
        return overlap(one, other) >= common_needed(len(one), len(other))

    def _set(self, row: int) -> UInt64[np.ndarray, " shingles"]:
        return self._shingles[self._ends[row] : self._ends[row + 1]]

    def _at_most(self, smaller: Rows, larger: Rows) -> Rows:
        """Returns an upper bound of the number of common shingles."""
        one, other = self._maps[smaller], self._maps[larger]
        only_one = np.bitwise_count(one & ~other).sum(axis=1, dtype=np.int64)
        only_other = np.bitwise_count(other & ~one).sum(axis=1, dtype=np.int64)
        return np.minimum(self._sizes[smaller] - only_one, self._sizes[larger] - only_other)


def overlap(one: UInt64[np.ndarray, " one"], other: UInt64[np.ndarray, " other"]) -> int:
    """Returns the number of common elements of two sets."""
    both = np.concatenate((one, other))
    both.sort()
    return int(np.count_nonzero(both[1:] == both[:-1]))


@overload
def common_needed(smaller: int, larger: int) -> int: ...
@overload
def common_needed(smaller: Rows, larger: Rows) -> Rows: ...
def common_needed(smaller: Any, larger: Any) -> Any:
    """Returns how many common shingles make sets of these sizes similar, at least one.

    Common / (smaller + larger - common) >= a / b where common >= a / (a + b) of the sum.
    """
    (a, b), (c, d) = JACCARD, CONTAINED
    by_jaccard = -(-a * (smaller + larger) // (a + b))
    contained = -(-c * smaller // d)
    least = np.maximum(np.minimum(by_jaccard, contained), 1)
    return int(least) if isinstance(smaller, int) else least


def _bitmaps(
    shingles: UInt64[np.ndarray, " shingles"], offsets: Int64[np.ndarray, " pages_and_1"]
) -> Bitmaps:
    count, shift = len(offsets) - 1, np.uint64(64 - (BITS - 1).bit_length())
    maps = np.empty((count, BITS // 8), np.uint8)
    for first in range(0, count, MAPPED):
        last = min(first + MAPPED, count)
        bits = np.zeros((last - first, BITS), bool)
        row = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        bits[row, shingles[offsets[first] : offsets[last]] >> shift] = True
        maps[first:last] = np.packbits(bits, axis=1)
    return maps.view(np.uint64)
