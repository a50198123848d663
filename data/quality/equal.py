"""Places of an array of hashes that hold the same number."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from data.sorted_numbers import is_first


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
