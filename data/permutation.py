"""A pseudo-random order of n things whose i-th element costs constant time and no memory.

A Feistel network over the smallest even number of bits that holds n, walked along its cycle until
the value falls below n (fewer than 4 steps on average). For every seed it is a permutation of
[0, n): each index appears exactly once, which is what makes an epoch an epoch. The round function
is a 32-bit multiplicative mix (murmur3's finalizer), good enough for shuffling and nothing else.
"""

import numpy as np
from jaxtyping import Int

ROUNDS = 4  # Luby and Rackoff (1988): 4 rounds make a strong pseudo-random permutation


def permute(index: int, size: int, seed: int) -> int:
    """Returns where the permutation of [0, size) with this seed sends `index`.

    Raises:
        ValueError: the index is outside.
    """
    if not 0 <= index < size:
        raise ValueError(f"Index {index} is outside of [0, {size}).")
    half_bits = max((size - 1).bit_length() + 1, 2) // 2
    keys = round_keys(seed)
    value = _feistel(index, half_bits, keys)
    while value >= size:
        value = _feistel(value, half_bits, keys)
    return value


def permutation(size: int, seed: int) -> Int[np.ndarray, " size"]:
    """Returns the whole permutation; for tests and small sizes."""
    return np.array([permute(index, size, seed) for index in range(size)])


def round_keys(seed: int) -> list[int]:
    """Derives the round keys from a seed of any size."""
    return [_mix(seed ^ _mix((seed >> 32) + round_ * 0x9E3779B9)) for round_ in range(ROUNDS)]


def _feistel(value: int, half_bits: int, keys: list[int]) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half_bits) | right


def _mix(value: int) -> int:
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16
