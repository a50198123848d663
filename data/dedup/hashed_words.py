"""Hashes of words, and of any run of words, in every script.

Words are compared after NFC (`composed`) and case folding, without punctuation, and with each run
of digits replaced by one zero. Letters that fold to several, such as ß, stay as they are. Where
spaces do not separate words, each character is one.

Nothing loops over words: a text is an array of code points, and the hash of any run is a difference
of two prefix sums, exact as it is modulo 2^64.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt32, UInt64

from data import languages, scripts
from data.numbers import splitmix64
from data.scripts import compose

# Characters with the content of an English word (5.98 characters), medians in parallel text.
_PER_WORD = {"Hans": 1.8, "Jpan": 3.0, "Thai": 6.0, "Laoo": 6.0, "Khmr": 6.0, "Mymr": 6.0}
CHUNK_CHARACTERS = 1 << 18  # code points that are processed at once: about 20 MB
BASE = 0x9E3779B97F4A7C15 | 2  # 3 modulo 4, so that swapped neighbours have different hashes
INVERSE = pow(BASE, -1, 1 << 64)
Hashes = UInt64[np.ndarray, " hashes"]


class HashedWords(NamedTuple):
    """The hashed words of pages, one page after the other.

    Attributes:
        hashes: hashes of all words.
        offsets: index of each page's first word, and the number of words.
    """

    hashes: UInt64[np.ndarray, " words"]
    offsets: Int64[np.ndarray, " pages_and_1"]


def hashed_words(texts: Sequence[str]) -> HashedWords:
    """Returns the hashes of all words of pages."""
    codes, page_begins = _normalize_digits(texts)
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
    hashes = splitmix64(span_hashes(_letters()[codes], first, last))
    return HashedWords(hashes, np.searchsorted(first, page_begins))


def span_hashes(
    values: Hashes, first: Int64[np.ndarray, " spans"], last: Int64[np.ndarray, " spans"]
) -> UInt64[np.ndarray, " spans"]:
    """Returns the polynomial in BASE of each span of values, from prefix sums modulo 2^64."""
    return hashes_between(prefix_sums(values), first, last)


def prefix_sums(values: Hashes) -> UInt64[np.ndarray, " hashes_and_1"]:
    """Returns the sums of all prefixes of values times powers of BASE, for `hashes_between`."""
    return np.concatenate(([np.uint64(0)], np.cumsum(values * _powers(len(values))[0])))


def hashes_between(
    sums: UInt64[np.ndarray, " hashes_and_1"],
    first: Int64[np.ndarray, " spans"],
    last: Int64[np.ndarray, " spans"],
) -> UInt64[np.ndarray, " spans"]:
    """Returns the polynomial in BASE of each span of values, from their `prefix_sums`."""
    return (sums[last] - sums[first]) * _powers(len(sums))[1][first]


def text_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yields consecutive texts of about 2^18 characters; no hash depends on the chunks."""
    chunk, characters = [], 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def units_of_words(words: int, language: str) -> int:
    """Returns the number of consecutive units with as much text as `words` English words.

    Args:
        words: number of words.
        language: code of the language. Its units are words; in scripts without spaces, characters.
            Spaces separate words in "und" and in languages that are not mC4's.
    """
    return round(words * (characters_per_word(language) or 1))


def characters_per_word(language: str) -> float | None:
    """Returns how many characters have the content of a word, or None if spaces separate words."""
    entry = languages.find(language)
    return None if entry is None else _PER_WORD.get(entry.script)


def _normalize_digits(
    texts: Sequence[str],
) -> tuple[UInt32[np.ndarray, " characters"], Int64[np.ndarray, " pages_and_1"]]:
    """Returns code points with each run of digits as one digit, and the beginning of each page.

    A separator ends each page, so no word or run of digits continues in the next.
    """
    pages = [compose(text) + "\n" for text in texts]
    codes = scripts.code_points("".join(pages))
    begins = np.cumsum([0, *map(len, pages)])
    digits = _is_digit()[codes]
    repeats = np.flatnonzero(digits[1:] & digits[:-1]) + 1
    return np.delete(codes, repeats), begins - np.searchsorted(repeats, begins)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    size = max(CHUNK_CHARACTERS, 1 << count.bit_length())
    powers, inverses = _all_powers(size)
    return powers[:count], inverses[:count]


@functools.lru_cache(maxsize=2)
def _all_powers(count: int) -> tuple[Hashes, Hashes]:
    factors = np.array([[BASE], [INVERSE]], np.uint64).repeat(count, axis=1)
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1)
    return powers, inverses


@functools.cache
def _letters() -> UInt64[np.ndarray, "1114112"]:
    """Returns a number per character: equal for both cases of a letter and for all digits."""
    letters = np.arange(scripts.CODE_POINTS, dtype=np.uint64)
    for code in scripts.characters_with(r"\p{Changes_When_Casefolded}").tolist():
        folded = chr(code).casefold()
        if len(folded) == 1:
            letters[code] = ord(folded)
    letters[_is_digit()] = ord("0")
    return splitmix64((letters + np.uint64(1)) * np.uint64(BASE))


@functools.cache
def _is_digit() -> np.ndarray:
    table = np.zeros(scripts.CODE_POINTS, bool)
    table[scripts.characters_with(r"\p{Nd}")] = True
    return table
