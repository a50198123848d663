"""The mixing of a fingerprint, for arrays of NumPy and of JAX alike; a fingerprint by NumPy.

What a fingerprint is, and why: `model/fingerprints.py`. A checkpoint is verified with NumPy alone,
as loading JAX and compiling takes longer than reading the arrays of a small network. No JAX is
imported here.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Shaped, UInt32

FINGERPRINTS = ".fingerprints_by_position"
ARRAYS = ".arrays"  # before the names of a network's weights, in the table of a training state
# The fraction of pi. Far apart, so that no number of a row is mixed as that of a column.
SEEDS = ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344))
AT_ONCE = 2**18  # numbers that are mixed at one time, which a processor's cache holds
Numbers = TypeVar("Numbers", bound=Any)


def mix(numbers: Numbers) -> Numbers:
    """Returns 32-bit numbers mixed by the finalizer of MurmurHash3, in arrays of either library."""
    numbers = (numbers ^ (numbers >> 16)) * np.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * np.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)


def position_keys(row: Numbers, column: Numbers) -> list[Numbers]:
    """Returns the key of each position for either sum, from the numbers of rows and columns."""
    return [mix(row + np.uint32(r)) + mix(column + np.uint32(c)) for r, c in SEEDS]


def host_fingerprint(array: Shaped[np.ndarray, "..."]) -> UInt32[np.ndarray, "2"]:
    """Returns the fingerprint of an array in this machine's memory."""
    sums = np.array([(0, 0), *_sums(array)], np.uint64).sum(axis=0, dtype=np.uint64)
    return sums.astype(np.uint32)  # modulo 2^32, as 2^64 is a multiple of it


def _sums(array: Shaped[np.ndarray, "..."]) -> Iterator[tuple[int, int]]:
    """Yields both sums of mixed numbers, of some rows at a time."""
    bits = min(8 * array.dtype.itemsize, 32)
    words = np.atleast_1d(np.ascontiguousarray(array).view(f"u{bits // 8}").reshape(array.shape))
    words = words.reshape(math.prod(words.shape[:-1]), words.shape[-1])
    columns = np.arange(words.shape[1], dtype=np.uint32)[None]
    rows = max(AT_ONCE // max(words.shape[1], 1), 1)
    for first in range(0, len(words), rows):
        part = words[first : first + rows].astype(np.uint32)
        numbers = np.arange(first, first + len(part), dtype=np.uint64).astype(np.uint32)[:, None]
        first_key, second_key = position_keys(numbers, columns)
        yield _sum(mix(part ^ first_key)), _sum(mix(part ^ second_key))


def _sum(numbers: UInt32[np.ndarray, "rows columns"]) -> int:
    return int(np.sum(numbers, dtype=np.uint64))
