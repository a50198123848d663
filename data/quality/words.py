"""Words of many pages at once: where each begins in the characters that are not white space.

Words are those of spaCy's rules, on which datatrove's decisions rest: text is cut at white space,
marks are cut off both ends of a word, and some marks cut a word in two (`characters` has the
lists). Each mark is a word of its own.

    "(Hello," she said...   ->   " ( Hello , " she said ...
    state-of-the-art        ->   state - of - the - art
    l'amour                 ->   l' amour in French, Italian and Catalan

Indian languages and Urdu, Sindhi and Pashto cut at every ASCII mark, as the Indic NLP Library does,
and only spaces and tabs separate. There "19. 20" is one word, but not in Urdu, Sindhi and Pashto.
Exceptions that spaCy lists per language ("z.B.", "Dr.") and its URLs are left out.

In scripts without spaces each character is a unit: a word has the content of 1.8 characters in
Chinese, 3 in Japanese, and 6 in Thai, Lao, Khmer and Burmese (`data.dedup.hashed_words`). Tibetan
needs no such number: its syllables, which a mark separates, are its words.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16, UInt32

from data import languages
from data.dedup.hashed_words import CHARACTERS_PER_WORD
from data.quality import characters as kind
from data.quality.pages import Pages

# How spaCy's rules differ between languages, as far as that moves numbers of words: at hyphens
# ("MIME-Typ" is a word in German), between digits ("1-2"), at "COVID-19", "5." and "l'eau",
# and where a full stop is cut off after letters without case alone.
# fmt: off
WHOLE_HYPHENS = {"ca", "co", "da", "de", "el", "es", "fi", "fr", "hu",
                 "ky", "lb", "nl", "no", "pt", "ro", "sr", "sv"}
WHOLE_RANGES = {"co", "da", "el", "es", "fi", "hu", "lt", "nl", "no", "pt", "ro", "sv"}
DIGITS_AND_HYPHENS = {"haw", "id", "jv", "mg", "mi", "ms", "pl", "sm", "su"}
ORDINALS = {"da", "de", "el", "hu", "no", "sl", "sr", "tr"}
STOPS_AFTER_LETTERS = {"am", "ar", "fa"}
ELISIONS = {"ca", "fr", "it", "lb"}
EVERY_MARK = {"bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "ps", "sd", "si", "ta", "te", "ur"}
URDU = {"ps", "sd", "ur"}  # of these, in which numbers are cut, too
SLASHES = {"de"}  # a slash is cut off the end, and between digits, too
FULL_STOPS = {"pl"}  # a full stop is cut between digits, and before them
# fmt: on
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
    marks: Positions
    begins: Int64[np.ndarray, " words_and_1"]
    offsets: Int64[np.ndarray, " pages_and_1"]
    pages: Int64[np.ndarray, " words"]
    kinds: UInt16[np.ndarray, " words"]
    weights: Float64[np.ndarray, " words"]

    @property
    def has_letters(self) -> Bool[np.ndarray, " words"]:
        """Whether each word has a letter, or is a sign of a script without spaces."""
        return (self.kinds & (kind.ALPHABETIC | kind.UNSPACED)) != 0


def characters_per_word(language: str) -> float | None:
    """Returns how many characters have the content of a word, or None if spaces separate words."""
    found = languages.find(language)
    number = None if found is None else CHARACTERS_PER_WORD.get(found.script)
    return None if number is None else float(number)


def words(pages: Pages, language: str) -> Words:
    """Returns the words of pages of a language, which decides how words are cut."""
    positions = np.flatnonzero((pages.flags & kind.SPACE) == 0)
    codes, flags = pages.codes[positions], pages.flags[positions]
    cut = np.ones(len(codes) + 1, bool)  # whether a word begins; the last stands for the end
    np.not_equal(np.diff(positions), 1, out=cut[1:-1])
    marks = np.flatnonzero(flags & kind.MARK)
    around = _Around(codes, flags, cut.copy(), marks)
    if language in EVERY_MARK:
        _keep_blanks(pages, positions, cut)
        _cut_every_mark(around, cut)
        if language not in URDU:
            _join_numbers(pages, positions, around, cut)
    else:
        _cut_at_marks(around, cut, language)
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


def _cut_at_marks(
    around: "_Around", cut: Bool[np.ndarray, " characters_and_1"], language: str
) -> None:
    """Sets in `cut` where words begin beside marks."""
    if not len(around.at):
        return
    _cut_edges(around, cut, language)
    _cut_inside(_Around(around.codes, around.flags, around.cut, around.inner), cut, language)
    if language not in WHOLE_HYPHENS:
        _cut_possessives(around, cut)
    cut[around.at[around.dots_before]] = False  # dots stay together


class _Around:
    """Marks, and the kinds of the characters on both sides in the same run without white space."""

    def __init__(self, codes: np.ndarray, flags: np.ndarray, cut: np.ndarray, at: Positions):
        self.at, self.code, self.flag = at, codes[at], flags[at]
        self.first, self.last = cut[at], cut[at + 1]
        self.flags, self.codes, self.cut = flags, codes, cut
        none = np.uint16(0)
        self.before = np.where(self.first, none, flags[np.maximum(at - 1, 0)])
        self.after = np.where(self.last, none, flags[np.minimum(at + 1, len(flags) - 1)])
        dot = self.code == ord(".")
        self.dots_before = dot & ~self.first & (codes[np.maximum(at - 1, 0)] == ord("."))
        dots_after = dot & ~self.last & (codes[np.minimum(at + 1, len(codes) - 1)] == ord("."))
        self.dots = self.dots_before | dots_after

    @property
    def inner(self) -> Positions:
        """Marks with a character on both sides."""
        return self.at[~(self.first | self.last)]

    def one_of(self, marks: str) -> Bool[np.ndarray, " marks"]:
        return kind.are(marks)[self.code]


def _keep_blanks(
    pages: Pages, positions: Positions, cut: Bool[np.ndarray, " characters_and_1"]
) -> None:
    """Takes back the cuts at white space without a space or a tab, inside of pages."""
    at = np.flatnonzero(cut[1:-1]) + 1
    blanks = np.append(0, np.cumsum(kind.are(" \t")[pages.codes]))
    number = np.searchsorted(pages.offsets, positions[at], side="right")
    same_page = number == np.searchsorted(pages.offsets, positions[at - 1], side="right")
    cut[at] = (blanks[positions[at]] > blanks[positions[at - 1]]) | ~same_page


def _cut_every_mark(around: _Around, cut: Bool[np.ndarray, " characters_and_1"]) -> None:
    alone = around.at[around.one_of(INDIC_MARKS)]
    cut[alone] = cut[alone + 1] = True


def _join_numbers(
    pages: Pages,
    positions: Positions,
    around: _Around,
    cut: Bool[np.ndarray, " characters_and_1"],
) -> None:
    """Takes back the cuts around a mark between two digits, at most a blank apart: 1.5; 19, 20."""
    at = around.at[around.one_of(",.:/")]
    at = at[(at > 0) & (at < len(around.codes) - 1)]
    at = at[(around.flags[at - 1] & around.flags[at + 1] & kind.DIGIT) != 0]
    blank = kind.are(" \t")
    for neighbour in (0, 1):
        last = positions[at + neighbour]
        gap = last - positions[at + neighbour - 1]
        at = at[(gap == 1) | ((gap == 2) & blank[pages.codes[last - 1]])]
    cut[at] = cut[at + 1] = False


def _cut_inside(around: _Around, cut: Bool[np.ndarray, " characters_and_1"], language: str) -> None:
    """Cuts words in two at a mark between letters or digits, and at dots and icons anywhere."""
    before, after, code = around.before, around.after, around.code

    def between(left: int, right: int) -> Bool[np.ndarray, " marks"]:
        return ((before & left) != 0) & ((after & right) != 0)

    letters = between(kind.LETTER, kind.LETTER)
    alike = kind.LETTER | kind.DIGIT
    hyphened = letters & (language not in WHOLE_HYPHENS)
    if language in DIGITS_AND_HYPHENS:
        hyphened = between(alike, alike)
    stops = (alike, kind.UPPER | kind.DIGIT) if language in FULL_STOPS else (kind.LOWER, kind.UPPER)
    operators = "+*^" if language in WHOLE_RANGES else "+*^-"
    alone = (
        (hyphened & around.one_of("-–—~"))
        | (letters & (code == ord(",")))
        | (between(alike, kind.LETTER) & around.one_of(":<>=/"))
        | (between(*stops) & (code == ord(".")))
        | (between(kind.DIGIT, kind.DIGIT) & around.one_of(operators))
    )
    if language in SLASHES:
        alone |= between(alike, alike) & (code == ord("/"))
    alone &= ~_in_addresses(around)
    alone |= ((around.flag & kind.ICON) != 0) | around.dots
    cut[around.at[alone]] = cut[around.at[alone] + 1] = True
    cut[around.at[around.one_of(TSHEG)] + 1] = True
    if language in ELISIONS:
        cut[around.at[letters & around.one_of("'’")] + 1] = True


def _in_addresses(around: _Around) -> Bool[np.ndarray, " marks"]:
    """Returns which marks are in a run with :// or with @ between letters or digits."""
    alike = kind.LETTER | kind.DIGIT
    at_sign = (around.code == ord("@")) & ((around.before & alike) != 0)
    at_sign &= (around.after & alike) != 0
    colon = np.flatnonzero(around.code == ord(":"))
    slashes = around.codes[np.minimum(around.at[colon, None] + (1, 2), len(around.codes) - 1)]
    at_sign[colon[(slashes == ord("/")).all(axis=1)]] = True
    if not at_sign.any():
        return at_sign
    run = np.cumsum(around.cut)[around.at]
    return np.isin(run, run[at_sign])


def _cut_edges(around: _Around, cut: Bool[np.ndarray, " characters_and_1"], language: str) -> None:
    """Cuts marks off both ends of each run without white space, as long as there are some."""
    edge = ((around.flag & kind.EDGE) != 0) | around.dots
    prefix = edge | around.one_of(ONLY_BEFORE)
    prefix |= (around.code == ord("+")) & ((around.after & kind.DIGIT) == 0)
    adjacent = np.diff(around.at, prepend=-2) == 1
    cut[around.at[_reached(prefix, around.first, adjacent)] + 1] = True
    digit_before = (around.before & kind.DIGIT) != 0
    suffix = edge | (digit_before & around.one_of(CURRENCIES + "+"))
    stop = (around.code == ord(".")) & _ends_a_sentence(around, cut, language)
    if language in SLASHES:
        suffix |= around.code == ord("/")
    suffix |= stop & ~digit_before if language in ORDINALS else stop
    backwards = np.append(adjacent[1:], False)[::-1]
    cut[around.at[_reached(suffix[::-1], around.last[::-1], backwards)[::-1]]] = True


def _ends_a_sentence(
    around: _Around, cut: Bool[np.ndarray, " characters_and_1"], language: str
) -> Bool[np.ndarray, " marks"]:
    """Returns which marks follow a small letter, a digit, a mark or two capitals; not "a."."""
    before, previous = around.before, np.maximum(around.at - 1, 0)
    second = around.flags[np.maximum(around.at - 2, 0)]
    capitals = (before & second & kind.UPPER) != 0
    capitals &= ~around.cut[previous]
    if language in STOPS_AFTER_LETTERS:
        return capitals
    marks = kind.are("%²-+")[around.codes[previous]] & ~around.first
    ends = ((before & (kind.LOWER | kind.DIGIT | kind.EDGE)) != 0) | marks | capitals
    letter = around.codes[previous] - np.uint32(ord("a")) < 26
    return ends & ~(letter & cut[previous])


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
    s = kind.are("sS")[around.codes[quotes + 1]]
    cut[quotes[s & cut[quotes + 2]]] = True
