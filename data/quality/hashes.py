"""Hashes of words and lines, from prefix sums over all characters of many pages."""

import functools

import numpy as np
from jaxtyping import UInt32, UInt64

from data import scripts
from data.dedup.hashed_words import prefix_sums, span_hashes
from data.splitmix64 import splitmix64


def sums(codes: UInt32[np.ndarray, " characters"]) -> UInt64[np.ndarray, " characters_and_1"]:
    """Returns prefix sums, of which `hashed_words.of_spans` makes the hash of any span."""
    return prefix_sums(_values()[codes])


def hash_of(word: str) -> int:
    """Returns the hash that `of_spans` gives a word, wherever it stands."""
    values = _values()[scripts.code_points(word)]
    return int(span_hashes(values, np.array([0]), np.array([len(values)]))[0])


@functools.cache
def _values() -> UInt64[np.ndarray, "1114112"]:
    """Returns a number per character, all different."""
    return splitmix64(np.arange(1, scripts.CODE_POINTS + 1, dtype=np.uint64))
