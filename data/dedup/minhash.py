"""Near-duplicates: MinHash keys by which pages meet that share most of their words in their order.

As FineWeb2 does it (`fineweb-2-pipeline.py`, datatrove's `MinhashConfig`): sets of 5 words in a
row, 112 minima in 14 bands of 8, pages of one language only. Two pages of similarity s (Jaccard, of
their sets) share a key with probability 1 - (1 - s^8)^14: 0.21 at 0.6, 0.56 at 0.7, 0.92 at 0.8.

What counts as the same word: NFC, folded case, all digits in a row one zero, no punctuation.
datatrove has a segmenter a language where spaces part no words; here as many characters in a row as
say what 5 English words say (5.98 characters each) take the place of the 5 words. Changing one word
of W then changes 5/W of the set in English and 5 to 6/W in Thai. With 5 characters, a word in Thai,
unrelated pages would share much.

Nothing here loops over words: a text becomes an array of code points, and the hash of any stretch
is a difference of two prefix sums, modulo 2^64 and so exact whatever stands around it. `rensa`
makes the minima (Fast Similarity Sketching, Dahlgaard et al. 2017, full sets, 32 bits a minimum):
4 microseconds a page of 2,000 words, and for short pages closer to the formula's 0 and 1 than
independent minima are. Of 5 billion pages 130 pairs would share a key by chance.
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

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SEED = 1
# Median characters per English word of parallel text, times 5: Chinese 1.8, Japanese 3, others 6.
SHINGLE_CHARACTERS = {"Hans": 9, "Jpan": 15, "Thai": 30, "Laoo": 30, "Khmr": 30, "Mymr": 30}
CHARACTERS_A_CHUNK = 1 << 18  # code points that are worked on at a time: some 20 MB

BASE = 0x9E3779B97F4A7C15 | 2  # 3 modulo 4, so that neighbours swapped do not meet
INVERSE = pow(BASE, -1, 1 << 64)
Hashes = UInt64[np.ndarray, " hashes"]


class Shingles(NamedTuple):
    """The set of each page, as hashes, one page after the other.

    Attributes:
        hashes: of the stretches of words.
        offsets: where each page's begin; the last one is the end.
    """

    hashes: UInt64[np.ndarray, " hashes"]
    offsets: UInt64[np.ndarray, " pages_and_1"]


def band_keys(texts: Sequence[str], language: str) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the keys of each page's bands; pages that share one are near-duplicates.

    Keys of different languages and of different bands never meet. A page of fewer than 5 words is
    compared as a whole; pages without any word are all the same.

    Args:
        texts: pages of one language.
        language: its code; for "und", and others that are not mC4's, words are parted by spaces.
    """
    if not texts:
        return np.empty((0, BANDS), np.uint64)
    in_a_row = shingle_length(language)
    minima = np.concatenate([_minima(shingles_of(some, in_a_row)) for some in _chunks(texts)])
    return _keys(minima, language)


def shingle_length(language: str) -> int:
    """Returns how many words, or characters where spaces part no words, are taken together."""
    found = languages.find(language)
    return SHINGLE_WORDS if found is None else SHINGLE_CHARACTERS.get(found.script, 5)


def shingles_of(texts: Sequence[str], in_a_row: int) -> Shingles:
    """Returns the hashes of all stretches of so many words, page by page, repeats included."""
    words, offsets = _words(texts)
    counts = np.diff(offsets)
    stretches = np.maximum(counts - in_a_row + 1, np.minimum(counts, 1))
    ends = np.cumsum(stretches)
    page = np.repeat(np.arange(len(texts)), stretches)
    first = np.arange(len(page)) - (ends - stretches)[page] + offsets[:-1][page]
    last = np.minimum(first + in_a_row, offsets[1:][page])
    hashes = _mixed(_stretch_hashes(words, first, last))
    return Shingles(hashes, np.concatenate(([0], ends)).astype(np.uint64))


def _minima(sets: Shingles) -> UInt32[np.ndarray, "pages 112"]:
    minhash = rensa.RMinHash  # pyright: ignore[reportAttributeAccessIssue]: a compiled module
    matrix = minhash.digest_matrix_from_flat_token_hashes(*sets, BANDS * ROWS, SEED)
    return np.array(matrix.to_rows(), np.uint32)


def _keys(minima: UInt32[np.ndarray, "pages 112"], language: str) -> UInt64[np.ndarray, "pages 14"]:
    rows = np.ascontiguousarray(minima, "<u4").view("<u8").reshape(len(minima), BANDS, ROWS // 2)
    start = hashlib.md5(language.encode(), usedforsecurity=False).digest()[:8]
    keys = _mixed(np.arange(BANDS, dtype=np.uint64) + np.frombuffer(start, "<u8"))
    keys = np.broadcast_to(keys, rows.shape[:2])
    for pair in range(ROWS // 2):
        keys = _mixed(keys ^ rows[..., pair])
    return keys


def _words(texts: Sequence[str]) -> tuple[Hashes, Int64[np.ndarray, " pages_and_1"]]:
    """Hashes of all words, and where each page's begin."""
    pages = [_plain(text) for text in texts]
    codes = np.concatenate(pages)
    kinds = scripts.kinds()[codes]
    in_a_word = kinds == scripts.IN_A_WORD
    before = np.concatenate(([False], in_a_word[:-1]))
    after = np.concatenate((in_a_word[1:], [False]))
    alone = kinds == scripts.UNSPACED
    first = np.flatnonzero((in_a_word & ~before) | alone)
    last = np.flatnonzero((in_a_word & ~after) | alone) + 1
    page_begins = np.cumsum([0, *map(len, pages)])
    hashes = _mixed(_stretch_hashes(_letters()[codes], first, last))
    return hashes, np.searchsorted(first, page_begins)


def _plain(text: str) -> UInt32[np.ndarray, " characters"]:
    """Code points with digits in a row taken for one; a separator ends the page."""
    codes = scripts.code_points(unicodedata.normalize("NFC", text) + "\n")
    digits = _is_digit()[codes]
    return codes[~(digits & np.concatenate(([False], digits[:-1])))] if digits.any() else codes


def _stretch_hashes(
    values: Hashes, first: Int64[np.ndarray, " stretches"], last: Int64[np.ndarray, " stretches"]
) -> UInt64[np.ndarray, " stretches"]:
    """The polynomial in BASE of each stretch of values, by its prefix sums, modulo 2^64."""
    powers, inverses = _powers(len(values))
    sums = np.concatenate(([np.uint64(0)], np.cumsum(values * powers)))
    return (sums[last] - sums[first]) * inverses[first]


def _powers(count: int) -> tuple[Hashes, Hashes]:
    size = max(CHARACTERS_A_CHUNK, 1 << count.bit_length())
    powers, inverses = _all_powers(size)
    return powers[:count], inverses[:count]


@functools.lru_cache(maxsize=2)
def _all_powers(count: int) -> tuple[Hashes, Hashes]:
    def of(base: int) -> Hashes:
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        return np.cumprod(factors)

    return of(BASE), of(INVERSE)


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele et al. 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.cache
def _letters() -> UInt64[np.ndarray, "1114112"]:
    """A number for each character: the same for one letter's cases and for all digits."""
    same = np.arange(scripts.CODE_POINTS, dtype=np.uint64)
    for code in scripts.characters_with(r"\p{Changes_When_Casefolded}").tolist():
        folded = chr(code).casefold()
        if len(folded) == 1:
            same[code] = ord(folded)
    same[_is_digit()] = ord("0")
    return _mixed((same + np.uint64(1)) * np.uint64(BASE))


@functools.cache
def _is_digit() -> np.ndarray:
    table = np.zeros(scripts.CODE_POINTS, bool)
    table[scripts.characters_with(r"\p{Nd}")] = True
    return table


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive texts of some 2^18 characters; the keys do not depend on where they are cut."""
    first, characters = 0, 0
    for number, text in enumerate(texts):
        characters += len(text)
        if characters >= CHARACTERS_A_CHUNK:
            yield texts[first : number + 1]
            first, characters = number + 1, 0
    if first < len(texts):
        yield texts[first:]
