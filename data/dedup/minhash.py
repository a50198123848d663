"""Near-duplicates: MinHash band keys, which pages with mostly the same shingles share.

The parameters are FineWeb2's (`fineweb-2-pipeline.py`, datatrove's `MinhashConfig`): shingles of 5
words, 112 minima in 14 bands of 8, pages of one language only. Two pages whose shingles have the
Jaccard similarity s share a key with probability 1 - (1 - s^8)^14: 0.21 at 0.6, 0.56 at 0.7, 0.92
at 0.8.

Words are compared after NFC and case folding, without punctuation, and with each run of digits
replaced by one zero. Where spaces do not separate words, datatrove has a segmenter per language;
here a shingle is the number of characters with the content of 5 English words (5.98 characters
each). Changing one word of W then changes 5/W of the shingles in English and 5 to 6/W in Thai.
Shingles of 5 characters, one word in Thai, would make unrelated pages similar.

Nothing loops over words: a text is an array of code points, and the hash of any span is a
difference of two prefix sums, exact as it is modulo 2^64. `rensa` computes the minima (Fast
Similarity Sketching, Dahlgaard et al. 2017, all shingles, 32 bits per minimum). It takes 4
microseconds for a page of 2,000 words, and on short pages it is closer to the formula than
independent minima are. Of 5 billion pages, 130 pairs would share a key by chance.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import rensa
from jaxtyping import Int64, UInt32, UInt64

from data import languages, scripts
from data.splitmix64 import splitmix64

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SEED = 1
# Median characters per English word in parallel text, times 5: Chinese 1.8, Japanese 3, others 6.
SHINGLE_CHARACTERS = {"Hans": 9, "Jpan": 15, "Thai": 30, "Laoo": 30, "Khmr": 30, "Mymr": 30}
CHUNK_CHARACTERS = 1 << 18  # code points that are processed at once: about 20 MB

BASE = 0x9E3779B97F4A7C15 | 2  # 3 modulo 4, so that swapped neighbours have different hashes
INVERSE = pow(BASE, -1, 1 << 64)
Hashes = UInt64[np.ndarray, " hashes"]


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
    found = languages.find(language)
    return SHINGLE_WORDS if found is None else SHINGLE_CHARACTERS.get(found.script, SHINGLE_WORDS)


def shingles_of(texts: Sequence[str], length: int) -> Shingles:
    """Returns the hashed shingles of `length` words, page by page, repeats included."""
    words, offsets = _words(texts)
    counts = np.diff(offsets)
    shingles = np.maximum(counts - length + 1, np.minimum(counts, 1))
    ends = np.cumsum(shingles)
    page = np.repeat(np.arange(len(texts)), shingles)
    first = np.arange(len(page)) - (ends - shingles)[page] + offsets[:-1][page]
    last = np.minimum(first + length, offsets[1:][page])
    hashes = splitmix64(_span_hashes(words, first, last))
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


def _words(texts: Sequence[str]) -> tuple[Hashes, Int64[np.ndarray, " pages_and_1"]]:
    """Returns the hashes of all words, and the offset of each page's first."""
    codes, page_begins = _normalized(texts)
    kinds = scripts.kinds()[codes]
    # A word begins where its first character is, and each unspaced character is one.
    in_a_word, alone = kinds == scripts.IN_A_WORD, kinds == scripts.UNSPACED
    changes = np.empty(len(codes), bool)
    changes[:1] = in_a_word[:1]
    np.not_equal(in_a_word[1:], in_a_word[:-1], out=changes[1:])
    first, last = np.flatnonzero(changes & in_a_word), np.flatnonzero(changes & ~in_a_word)
    if alone.any():
        single = np.flatnonzero(alone)
        first = np.sort(np.concatenate((first, single)))
        last = np.sort(np.concatenate((last, single + 1)))
    hashes = splitmix64(_span_hashes(_letters()[codes], first, last))
    return hashes, np.searchsorted(first, page_begins)


def _normalized(
    texts: Sequence[str],
) -> tuple[UInt32[np.ndarray, " characters"], Int64[np.ndarray, " pages_and_1"]]:
    """Returns code points with each run of digits as one digit, and where each page begins.

    A separator ends each page, so no word or run of digits goes on in the next.
    """
    pages = [unicodedata.normalize("NFC", text) + "\n" for text in texts]
    codes = scripts.code_points("".join(pages))
    begins = np.cumsum([0, *map(len, pages)])
    digits = _is_digit()[codes]
    repeats = np.flatnonzero(digits[1:] & digits[:-1]) + 1
    return np.delete(codes, repeats), begins - np.searchsorted(repeats, begins)


def _span_hashes(
    values: Hashes, first: Int64[np.ndarray, " spans"], last: Int64[np.ndarray, " spans"]
) -> UInt64[np.ndarray, " spans"]:
    """Returns the polynomial in BASE of each span of values, from prefix sums modulo 2^64."""
    powers, inverses = _powers(len(values))
    sums = np.concatenate(([np.uint64(0)], np.cumsum(values * powers)))
    return (sums[last] - sums[first]) * inverses[first]


def _powers(count: int) -> tuple[Hashes, Hashes]:
    size = max(CHUNK_CHARACTERS, 1 << count.bit_length())
    powers, inverses = _all_powers(size)
    return powers[:count], inverses[:count]


@functools.lru_cache(maxsize=2)
def _all_powers(count: int) -> tuple[Hashes, Hashes]:
    def of(base: int) -> Hashes:
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        return np.cumprod(factors)

    return of(BASE), of(INVERSE)


@functools.cache
def _letters() -> UInt64[np.ndarray, "1114112"]:
    """Returns a number per character: equal for both cases of a letter and for all digits."""
    same = np.arange(scripts.CODE_POINTS, dtype=np.uint64)
    for code in scripts.characters_with(r"\p{Changes_When_Casefolded}").tolist():
        folded = chr(code).casefold()
        if len(folded) == 1:
            same[code] = ord(folded)
    same[_is_digit()] = ord("0")
    return splitmix64((same + np.uint64(1)) * np.uint64(BASE))


@functools.cache
def _is_digit() -> np.ndarray:
    table = np.zeros(scripts.CODE_POINTS, bool)
    table[scripts.characters_with(r"\p{Nd}")] = True
    return table


def chunks_of(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields consecutive texts of about 2^18 characters; no hash depends on the chunks."""
    first, characters = 0, 0
    for number, text in enumerate(texts):
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield texts[first : number + 1]
            first, characters = number + 1, 0
    if first < len(texts):
        yield texts[first:]
