"""Words of many pages at once: where each begins in the characters that are not white space.

Words are those of spaCy's rules for all languages, on which datatrove's decisions rest: text is cut
at white space, marks are cut off both ends of a word, and some marks cut a word in two (`characters`
has the lists). Each mark is a word of its own.

    "(Hello," she said...   ->   " ( Hello , " she said ...
    state-of-the-art        ->   state - of - the - art
    l'amour                 ->   l' amour in French, Italian and Catalan

Indian languages and Urdu, Sindhi and Pashto cut at every ASCII mark, as the Indic NLP Library does.
Exceptions that spaCy lists per language ("z.B.", "Dr.") and its URLs are left out.

In scripts without spaces each character is a unit: a word has the content of 1.8 characters in
Chinese, 3 in Japanese, and 6 in Thai, Lao, Khmer and Burmese (`data.dedup.hashed_words`). Tibetan
needs no such number: its syllables, which a mark separates, are its words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt16, UInt32

from data import languages, scripts
from data.dedup.hashed_words import CHARACTERS_PER_WORD
from data.quality import characters as kind

ELISIONS = {"fr", "it", "ca", "lb"}
DIGITS_AND_HYPHENS = {"en", "fy", "id", "ms"}
WHOLE_HYPHENS = set("de es co pt fr ca sv da no nl hu ro fi lb".split())
EVERY_MARK = set("hi mr ne bn gu pa ta te kn ml si ur sd ps".split())
INDIC_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~।॥؉؊،؞٪٫٬٭۔"
ONLY_BEFORE = "§%=$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
TSHEG = "་༌"  # ends a syllable of Tibetan
CURRENCIES = ONLY_BEFORE[3:] + "%"

Positions = Int64[np.ndarray, " marks"]


class Words(NamedTuple):
    """The words of pages, one page after the other, in the characters that are not white space.

    Attributes:
        codes: characters.
        flags: kinds of the characters.
        positions: place of each character in the pages' text, each page followed by a newline.
        begins: index of each word's first character, and the number of characters.
        offsets: index of each page's first word, and the number of words.
        weights: number of words that each stands for: 1, or less for characters of scripts without
            spaces.
    """

    codes: UInt32[np.ndarray, " characters"]
    flags: UInt16[np.ndarray, " characters"]
    positions: Int64[np.ndarray, " characters"]
    begins: Int64[np.ndarray, " words_and_1"]
    offsets: Int64[np.ndarray, " pages_and_1"]
    weights: Float32[np.ndarray, " words"]


def characters_per_word(language: str) -> float | None:
    """Returns how many characters have the content of a word, or None if spaces separate words."""
    found = languages.find(language)
    return None if found is None else CHARACTERS_PER_WORD.get(found.script)


def words(
    codes: UInt32[np.ndarray, " all"], pages: Int64[np.ndarray, " pages_and_1"], language: str
) -> Words:
    """Returns the words of pages of a language.

    Args:
        codes: characters of all pages, each page followed by a newline.
        pages: index of each page's first character, and the number of characters.
        language: code of the language, which decides how words are cut.
    """
    all_flags = kind.flags()[codes]
    positions = np.flatnonzero((all_flags & kind.SPACE) == 0)
    codes, flags = codes[positions], all_flags[positions]
    cut = np.ones(len(codes) + 1, bool)  # whether a word begins; the last stands for the end
    np.not_equal(np.diff(positions), 1, out=cut[1:-1])
    _cut_at_marks(codes, flags, cut, language)
    per_word = characters_per_word(language)
    if per_word is not None:
        unspaced = (flags & kind.UNSPACED) != 0
        cut[:-1] |= unspaced
        cut[1:] |= unspaced
    begins = np.flatnonzero(cut)
    first = begins[:-1]
    offsets = np.searchsorted(first, np.searchsorted(positions, pages))
    weights = np.ones(len(first), np.float32)
    if per_word is not None:
        weights[unspaced[first]] = 1 / per_word
    return Words(codes, flags, positions, begins, offsets, weights)


def _cut_at_marks(
    codes: UInt32[np.ndarray, " characters"],
    flags: UInt16[np.ndarray, " characters"],
    cut: Bool[np.ndarray, " characters_and_1"],
    language: str,
) -> None:
    """Marks in `cut` where words begin beside marks."""
    at = np.flatnonzero(flags & kind.MARK)
    around = _Around(codes, flags, cut, at)
    if language in EVERY_MARK:
        _cut_every_mark(around, cut)
        return
    _cut_inside(around, cut, language)
    _cut_edges(around, cut)
    cut[at[around.dots_before]] = False  # dots stay together


class _Around:
    """Marks, and the kinds of the characters on both sides in the same run without white space."""

    def __init__(self, codes: np.ndarray, flags: np.ndarray, cut: np.ndarray, at: Positions):
        self.at, self.code, self.flag = at, codes[at], flags[at]
        self.first, self.last = cut[at], cut[at + 1]
        self.flags, self.codes, self.cut = flags, codes, cut.copy()
        none = np.uint16(0)
        self.before = np.where(self.first, none, flags[np.maximum(at - 1, 0)])
        self.after = np.where(self.last, none, flags[np.minimum(at + 1, len(flags) - 1)])
        dot = self.code == ord(".")
        self.dots_before = dot & ~self.first & (codes[np.maximum(at - 1, 0)] == ord("."))
        dots_after = dot & ~self.last & (codes[np.minimum(at + 1, len(codes) - 1)] == ord("."))
        self.dots = self.dots_before | dots_after

    def one_of(self, marks: str) -> Bool[np.ndarray, " marks"]:
        return np.isin(self.code, kind.code_points_of(marks))


def _cut_every_mark(around: _Around, cut: Bool[np.ndarray, " characters_and_1"]) -> None:
    between_digits = (around.before & around.after & kind.DIGIT) != 0
    alone = around.one_of(INDIC_MARKS) & ~(around.one_of(",.:/") & between_digits)
    cut[around.at[alone]] = cut[around.at[alone] + 1] = True


def _cut_inside(
    around: _Around, cut: Bool[np.ndarray, " characters_and_1"], language: str
) -> None:
    """Cuts words in two at a mark between letters or digits, and at dots and icons anywhere."""
    before, after, code = around.before, around.after, around.code

    def between(left: int, right: int) -> Bool[np.ndarray, " marks"]:
        return ((before & left) != 0) & ((after & right) != 0)

    letters = between(kind.LETTER, kind.LETTER)
    alone = (
        (letters & around.one_of("," if language in WHOLE_HYPHENS else ",-–—~"))
        | (between(kind.LETTER | kind.DIGIT, kind.LETTER) & around.one_of(":<>=/"))
        | (between(kind.LOWER, kind.UPPER) & (code == ord(".")))
        | (between(kind.DIGIT, kind.DIGIT) & around.one_of("+-*^"))
        | ((around.flag & kind.ICON) != 0)
        | around.dots
    )
    cut[around.at[alone]] = cut[around.at[alone] + 1] = True
    cut[around.at[around.one_of(TSHEG)] + 1] = True
    if language in ELISIONS:
        cut[around.at[letters & around.one_of("'’")] + 1] = True


def _cut_edges(around: _Around, cut: Bool[np.ndarray, " characters_and_1"]) -> None:
    """Cuts marks off both ends of each run without white space, as long as there are some."""
    edge = ((around.flag & kind.EDGE) != 0) | around.dots
    digit_before = (around.before & kind.DIGIT) != 0
    prefix = edge | around.one_of(ONLY_BEFORE)
    prefix |= (around.code == ord("+")) & ((around.after & kind.DIGIT) == 0)
    suffix = edge | (digit_before & around.one_of(CURRENCIES + "+"))
    suffix |= (around.code == ord(".")) & _ends_a_sentence(around)
    adjacent = np.diff(around.at, prepend=-2) == 1
    prefixes = _reached(prefix, around.first, adjacent)
    backwards = np.append(adjacent[1:], False)[::-1]
    suffixes = _reached(suffix[::-1], around.last[::-1], backwards)[::-1]
    cut[around.at[prefixes] + 1] = True
    cut[around.at[suffixes]] = True
    _cut_possessives(around, cut)


def _ends_a_sentence(around: _Around) -> Bool[np.ndarray, " marks"]:
    """Returns which marks follow a small letter, a digit, a mark or two capitals."""
    before = around.before
    capital = (before & (kind.UPPER | kind.LOWER)) == kind.UPPER
    second = np.maximum(around.at - 2, 0)
    two = capital & ((around.flags[second] & kind.UPPER) != 0)
    two &= ~around.cut[np.maximum(around.at - 1, 0)]
    marks = np.isin(around.codes[np.maximum(around.at - 1, 0)], kind.code_points_of("%²-+"))
    marks &= ~around.first
    return ((before & (kind.LOWER | kind.DIGIT | kind.EDGE)) != 0) | two | marks


def _reached(
    passes: Bool[np.ndarray, " marks"],
    begins: Bool[np.ndarray, " marks"],
    adjacent: Bool[np.ndarray, " marks"],
) -> Bool[np.ndarray, " marks"]:
    """Returns the marks between which and a begin every character is a mark that passes."""
    index = np.arange(len(passes))
    stops = ~passes | (~adjacent & ~begins)
    last_begin = np.maximum.accumulate(np.where(begins, index, -1))
    last_stop = np.maximum.accumulate(np.where(stops, index, -1))
    return last_begin > last_stop


def _cut_possessives(around: _Around, cut: Bool[np.ndarray, " characters_and_1"]) -> None:
    """Cuts 's off the end of words."""
    quotes = around.at[around.one_of("'’") & ~around.first & ~around.last]
    s = np.isin(around.codes[quotes + 1], kind.code_points_of("sS"))
    cut[quotes[s & cut[quotes + 2]]] = True


def joined(texts: Sequence[str]) -> tuple[np.ndarray, Int64[np.ndarray, " pages_and_1"]]:
    """Returns the characters of pages, each followed by a newline, and where each page begins."""
    codes = scripts.code_points("".join(text + "\n" for text in texts))
    return codes, np.cumsum([0, *(len(text) + 1 for text in texts)])
