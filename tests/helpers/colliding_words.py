"""Words that share fastText's hash, which is FNV-1a of 32 bits.

Two parts with the same hash from the same state can stand for each other: n pairs in a row make 2^n
words (A. Joux, Multicollisions in Iterated Hash Functions, CRYPTO 2004).
"""

import itertools

import numpy as np

START, PRIME = 2166136261, 16777619
PARTS = 1 << 18  # drawn for a pair: about 8 pairs of them share a hash


def colliding_words(pairs: int) -> list[bytes]:
    """Returns 2^pairs words with one hash."""
    parts, state = [], START
    for number in range(pairs):
        first, second, state = _pair(state, np.random.default_rng(number))
        parts.append((first, second))
    return [b"".join(choice) for choice in itertools.product(*parts)]


def _pair(state: int, draw: np.random.Generator) -> tuple[bytes, bytes, int]:
    """Returns two parts of eight letters with one hash from this state, and the hash."""
    texts = draw.integers(ord("a"), ord("z"), (PARTS, 8), np.uint8, endpoint=True)
    hashes = np.full(PARTS, state, np.uint32)
    for column in texts.T:
        hashes = (hashes ^ column) * np.uint32(PRIME)
    order = np.argsort(hashes, kind="stable")
    equal = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])[0]
    first, second = order[equal], order[equal + 1]
    return texts[first].tobytes(), texts[second].tobytes(), int(hashes[first])
