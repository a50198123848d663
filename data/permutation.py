"""A pseudo-random order of n things whose i-th element costs constant time and no memory.

A Feistel network over the smallest even number of bits that holds n, walked along its cycle until
the value falls below n (fewer than 4 steps on average); many elements at once. For every seed it is
a permutation of [0, n): each index appears exactly once, which is what makes an epoch an epoch. The
round function is a 32-bit multiplicative mix (murmur3's finalizer), good enough for shuffling and
nothing else.
"""

import numpy as np
from jaxtyping import Int, UInt

ROUNDS = 4  # Luby and Rackoff (1988): 4 rounds make a strong pseudo-random permutation


def permute(indices: Int[np.ndarray, " some"], size: int, seed: int) -> Int[np.ndarray, " some"]:
    """Returns where the permutation of [0, size) with this seed sends each index.

    Raises:
        ValueError: an index is outside.
    """
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise ValueError(f"Indices {indices} are not all in [0, {size}).")
    half_bits = np.uint64(max((size - 1).bit_length() + 1, 2) // 2)
    keys = round_keys(seed)
    values = _feistel(indices.astype(np.uint64), half_bits, keys)
    while np.any(outside := values >= np.uint64(size)):
        values[outside] = _feistel(values[outside], half_bits, keys)
    return values.astype(np.int64)


def permutation(size: int, seed: int) -> Int[np.ndarray, " size"]:
    """Returns the whole permutation; for tests and small sizes."""
    return permute(np.arange(size), size, seed)


def round_keys(seed: int) -> UInt[np.ndarray, " rounds"]:
    """Derives the round keys from a 64-bit seed."""
    high, low = np.uint64(seed >> 32), np.uint64(seed & 0xFFFFFFFF)
    steps = np.arange(ROUNDS, dtype=np.uint64) * np.uint64(0x9E3779B9)
    return _mix(low ^ _mix(high + steps))


def _feistel(values: np.ndarray, half_bits: np.uint64, keys: np.ndarray) -> np.ndarray:
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
