"""Words of many pages at once: where each begins in the characters that are not white space.

Words are those of spaCy's rules, on which datatrove's decisions rest: text is cut at white space
and at some marks (`marks`). Each mark is a word of its own.

In scripts without spaces each character is a unit: a word has the content of 1.8 characters in
Chinese, 3 in Japanese, and 6 in Thai, Lao, Khmer and Burmese (`data.dedup.hashed_words`). Tibetan
needs no such number: its syllables, which a mark separates, are its words.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16, UInt32

from data.dedup.hashed_words import characters_per_word
from data.quality import characters as kind
from data.quality.marks import Around, cut_at_marks
from data.quality.pages import Pages


class Words(NamedTuple):
    """The words of pages, one page after the other, in the characters that are not white space.

    Attributes:
        codes: characters.
        flags: kinds of the characters.
        positions: place of each character in the pages' text, each page followed by a newline.
        begins: index of each word's first character, and the number of characters.
        marks: index of each character that is neither a letter nor a digit.
        offsets: index of each page's first word, and the number of words.
        pages: number of each word's page.
        kinds: kinds of each word's characters together.
        weights: number of words that each stands for: 1, or less for characters of scripts without
            spaces.
    """

    codes: UInt32[np.ndarray, " characters"]
    flags: UInt16[np.ndarray, " characters"]
    positions: Int64[np.ndarray, " characters"]
    marks: Int64[np.ndarray, " marks"]
    begins: Int64[np.ndarray, " words_and_1"]
    offsets: Int64[np.ndarray, " pages_and_1"]
    pages: Int64[np.ndarray, " words"]
    kinds: UInt16[np.ndarray, " words"]
    weights: Float64[np.ndarray, " words"]

    @property
    def has_letters(self) -> Bool[np.ndarray, " words"]:
        """Whether each word has a letter, or is a sign of a script without spaces."""
        return (self.kinds & (kind.ALPHABETIC | kind.UNSPACED)) != 0


def words(pages: Pages, language: str) -> Words:
    """Returns the words of pages of a language, which decides how words are cut."""
    positions = np.flatnonzero((pages.flags & kind.SPACE) == 0)
    codes, flags = pages.codes[positions], pages.flags[positions]
    cut = np.ones(len(codes) + 1, bool)  # whether a word begins; the last stands for the end
    np.not_equal(np.diff(positions), 1, out=cut[1:-1])
    marks = np.flatnonzero(flags & kind.MARK)
    cut_at_marks(pages, positions, Around(codes, flags, cut.copy(), marks), cut, language)
    per_word = characters_per_word(language)
    unspaced = ((flags & kind.UNSPACED) != 0) & (per_word is not None)
    cut[:-1] |= unspaced
    cut[1:] |= unspaced
    begins = np.flatnonzero(cut)
    first = begins[:-1]
    offsets = np.searchsorted(first, np.searchsorted(positions, pages.offsets))
    weights = np.where(unspaced[first], 1 / (per_word or 1), 1.0)
    numbers = np.repeat(np.arange(len(pages.texts)), np.diff(offsets))
    kinds = np.bitwise_or.reduceat(flags, first) if len(first) else flags[:0]
    return Words(codes, flags, positions, marks, begins, offsets, numbers, kinds, weights)
