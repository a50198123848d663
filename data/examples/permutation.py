"""A pseudo-random permutation of n elements; its i-th element takes constant time and no memory.

A Feistel network over the smallest even number of bits that holds n, with cycle walking until the
value is below n (fewer than 4 steps on average), for many elements at once. For every seed it is a
permutation of [0, n): each index appears exactly once per epoch. The round function is a 32-bit
multiplicative mix (murmur3's finalizer), sufficient for shuffling only.
"""

import numpy as np
from jaxtyping import Int, UInt64

ROUNDS = 4  # Luby and Rackoff (1988): 4 rounds make a strong pseudo-random permutation


def permute(
    indices: Int[np.ndarray, " some"],
    sizes: Int[np.ndarray, " some"],
    seeds: UInt64[np.ndarray, " some"],
) -> Int[np.ndarray, " some"]:
    """Returns the image of each index under the permutation of [0, size) with its seed.

    Each element has its own permutation, so windows of many languages need one call.

    Raises:
        ValueError: if an index is not in [0, size).
    """
    if np.any((indices < 0) | (indices >= sizes)):
        raise ValueError(f"Indices {indices} are not all in [0, size) of {sizes}.")
    bits = np.frexp(sizes - 1)[1]  # bits of size - 1, or one more, which is as good
    half_bits, keys = np.maximum((bits + 1) // 2, 1).astype(np.uint64), round_keys(seeds)
    values = _feistel(indices.astype(np.uint64), half_bits, keys)
    while len(outside := np.flatnonzero(values >= sizes.astype(np.uint64))):
        values[outside] = _feistel(values[outside], half_bits[outside], keys[:, outside])
    return values.astype(np.int64)


def round_keys(seeds: UInt64[np.ndarray, " some"]) -> UInt64[np.ndarray, "rounds some"]:
    """Returns round keys derived from 64-bit seeds."""
    steps = np.arange(ROUNDS, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B9)
    return _mix(seeds ^ _mix((seeds >> np.uint64(32)) + steps))


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
