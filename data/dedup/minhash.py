"""Near-duplicates: MinHash band keys, which pages with mostly the same shingles share.

The parameters are FineWeb2's (`fineweb-2-pipeline.py`, datatrove's `MinhashConfig`): shingles of 5
words, 112 minima in 14 bands of 8, pages of one language only. Two pages whose shingles have the
Jaccard similarity s share a key with probability 1 - (1 - s^8)^14: 0.21 at 0.6, 0.56 at 0.7, 0.92
at 0.8.

Words are those of `hashed_words`. Where spaces do not separate words, datatrove has a segmenter per
language; here a shingle is the number of characters with the content of 5 English words (5.98
characters each): 9 in Chinese, 15 in Japanese, 30 in Thai, Lao, Khmer and Burmese. Changing one
word of W then changes 5/W of the shingles in English and 5 to 6/W in Thai. Shingles of 5
characters, one word in Thai, would make unrelated pages similar.

`rensa` computes the minima (Fast Similarity Sketching, Dahlgaard et al. 2017, all shingles, 32 bits
per minimum). It takes 4 microseconds for a page of 2,000 words, and on short pages it is closer to
the formula than independent minima are. Of 5 billion pages, 130 pairs would share a key by chance.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import rensa
from jaxtyping import UInt32, UInt64

from data.dedup.hashed_words import chunks_of, hashed_words, length_of, span_hashes
from data.splitmix64 import splitmix64

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SEED = 1


class Shingles(NamedTuple):
    """The hashed shingles of pages, one page after the other.

    Attributes:
        hashes: hashes of all shingles.
        offsets: index of each page's first shingle, and the number of shingles.
    """

    hashes: UInt64[np.ndarray, " hashes"]
    offsets: UInt64[np.ndarray, " pages_and_1"]


def band_keys(texts: Sequence[str], language: str) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the key of each band of each page; pages that share a key are near-duplicates.

    Different languages and different bands never share keys. A page of fewer than 5 words is
    compared as a whole; pages without words are all equal.

    Args:
        texts: texts of pages of one language.
        language: code of the language; spaces separate words in "und" and in languages that are
            not mC4's.
    """
    length = shingle_length(language)
    keys = [keys_of(shingles_of(some, length), language) for some in chunks_of(texts)]
    return np.concatenate([np.empty((0, BANDS), np.uint64), *keys])


def keys_of(shingles: Shingles, language: str) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the key of each band of each page from its shingles, in any order and number."""
    return _keys(_minima(shingles), language)


def shingle_length(language: str) -> int:
    """Returns the length of a shingle: words, or characters where spaces do not separate words."""
    return length_of(SHINGLE_WORDS, language)


def shingles_of(texts: Sequence[str], length: int) -> Shingles:
    """Returns the hashed shingles of `length` words, page by page, repeats included."""
    words, offsets = hashed_words(texts)
    counts = np.diff(offsets)
    shingles = np.maximum(counts - length + 1, np.minimum(counts, 1))
    ends = np.cumsum(shingles)
    page = np.repeat(np.arange(len(texts)), shingles)
    first = np.arange(len(page)) - (ends - shingles)[page] + offsets[:-1][page]
    last = np.minimum(first + length, offsets[1:][page])
    hashes = splitmix64(span_hashes(words, first, last))
    return Shingles(hashes, np.concatenate(([0], ends)).astype(np.uint64))


def _minima(shingles: Shingles) -> UInt32[np.ndarray, "pages 112"]:
    minhash = rensa.RMinHash  # pyright: ignore[reportAttributeAccessIssue]: a compiled module
    matrix = minhash.digest_matrix_from_flat_token_hashes(*shingles, BANDS * ROWS, SEED)
    return np.array(matrix.to_rows(), np.uint32)


def _keys(minima: UInt32[np.ndarray, "pages 112"], language: str) -> UInt64[np.ndarray, "pages 14"]:
    rows = np.ascontiguousarray(minima, "<u4").view("<u8").reshape(len(minima), BANDS, ROWS // 2)
    start = hashlib.md5(language.encode(), usedforsecurity=False).digest()[:8]
    keys = splitmix64(np.arange(BANDS, dtype=np.uint64) + np.frombuffer(start, "<u8"))
    keys = np.broadcast_to(keys, rows.shape[:2])
    for pair in range(ROWS // 2):
        keys = splitmix64(keys ^ rows[..., pair])
    return keys
