"""Seeds from numbers: adjacent numbers give unrelated seeds, many at once.

Each number is added to the state, and the state is mixed by SplitMix64's finalizer. That suffices
for keys of Philox and of the Feistel permutation, and for nothing secret. It takes 30 ns per seed;
numpy's SeedSequence, which makes one at a time, takes 10 us.
"""

import numpy as np
from jaxtyping import Integer, UInt64

from data.splitmix64 import splitmix64

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
