"""Words of many pages at once, cut as spaCy cuts them.

    "(Hello," she said...   ->   " ( Hello , " she said ...
    state-of-the-art        ->   state - of - the - art
    l'amour                 ->   l' amour in French, Italian and Catalan

datatrove's decisions rest on spaCy's words: text is cut at white space and at some marks, and each
mark is a word of its own. Marks are cut off both ends of a run without white space, and some cut it
in two. Exceptions that spaCy lists per language ("z.B.", "Dr.") are left out.

Indian languages and Urdu, Sindhi and Pashto cut at every ASCII mark, as the Indic NLP Library does,
and only spaces and tabs separate. There "19. 20" is one word, but not in Urdu, Sindhi and Pashto.

In scripts without spaces each character is a unit: a word has the content of 1.8 characters in
Chinese, 3 in Japanese, and 6 in Thai, Lao, Khmer and Burmese (`data.dedup.hashed_words`). Tibetan
needs no such number: its syllables, which a mark separates, are its words.

Nothing loops over words: the pages are one array of code points, kinds of characters are bits of
one number per code point, and rules name the points where marks cut.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import regex
from jaxtyping import Bool, Float64, Int64, UInt16, UInt32

from data import scripts
from data.dedup.hashed_words import characters_per_word

SPACE = 1  # str.isspace
MARK = 2  # neither a letter, a combining mark nor a digit: words may begin or end at it
EDGE = 4  # a mark that is cut off the begin and the end of a word
ICON = 8  # a mark that is cut out of the middle of a word, too
LETTER, LOWER, UPPER = 16, 32, 64  # of scripts that spaCy's rules name; uncased letters are both
DIGIT = 128  # 0 to 9
ALPHABETIC = 256  # str.isalpha
CONTENT = 512  # not one of the symbols that Gopher's rules leave out of words
END_MARK = 1024  # ends a sentence
BREAK = 4096  # ends a line for str.splitlines, as a newline does
UNSPACED = 2048  # a letter or sign of a script whose words are not separated
# spaCy 3.8, lang/char_classes.py: what it cuts off words of every language.
EDGES = (
    "፡።፣፤፥፦፧…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪–—"
    "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
)
# Scripts of its letters. A full stop after a letter of another script stays at its word.
SCRIPTS = (
    "Latin Cyrillic Greek Ethiopic Bengali Hebrew Arabic Sinhala Devanagari Kannada Tamil Telugu "
    "Hangul Hiragana Katakana Han"
)
# Marks of CCNet (Wenzek et al. 2019), which datatrove takes for symbols, beside control characters
# and end marks.
SYMBOLS = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)
KHMER_END_MARKS = "៖៙៚"  # datatrove's, which are not in Unicode's Sentence_Terminal
# How spaCy's rules differ between languages, as far as that moves numbers of words.
# fmt: off
# No cut at the hyphens of "MIME-Typ" and of "1-2", the slash of "ab/cd", the full stop of "5.".
WHOLE_HYPHENS = {"ca", "co", "da", "de", "el", "es", "fi", "fr", "hu",
                 "ky", "lb", "nl", "no", "pt", "ro", "sr", "sv"}
WHOLE_RANGES = {"co", "da", "el", "es", "fi", "hu", "lt", "nl", "no", "pt", "ro", "sv"}
WHOLE_SLASHES = {"hu", "lb", "nl", "ro"}
ORDINALS = {"de", "hu", "no", "sl", "sr", "tr"}
# A full stop is cut off after letters without case alone.
STOPS_AFTER_LETTERS = {"am", "ar", "fa"}
# Cuts at "COVID-19", between and before digits at a full stop, at a slash behind or before words.
DIGITS_AND_HYPHENS = {"haw", "id", "jv", "mg", "mi", "ms", "pl", "sm", "su"}
FULL_STOPS = {"pl"}
SLASHES_AFTER = {"de"}
SLASHES_BEFORE = {"haw", "id", "jv", "mg", "mi", "ms", "sm", "su"}
# Cuts behind "l'", and as in "do n't", "I 'm" and "64 - bit".
ELISIONS = {"ca", "fr", "it", "lb"}
ENGLISH = {"en", "fy"}
# Cuts at every mark; of these, those that cut numbers, too.
EVERY_MARK = {"bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "ps", "sd", "si", "ta", "te", "ur"}
URDU = {"ps", "sd", "ur"}
# fmt: on
INDIC_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~।॥؉؊،؞٪٫٬٭۔"
ONLY_BEFORE = "§%=$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
TSHEG = "་༌"  # ends a syllable of Tibetan
CURRENCIES = ONLY_BEFORE[3:] + "%"
Flags = UInt16[np.ndarray, "1114112"]
Positions = Int64[np.ndarray, " marks"]
Cut = Bool[np.ndarray, " characters_and_1"]


class Pages(NamedTuple):
    """Characters of pages.

    Attributes:
        texts: text of each page.
        codes: characters of all pages, each page followed by a newline.
        flags: kinds of the characters.
        offsets: index of each page's first character, and the number of characters.
    """

    texts: Sequence[str]
    codes: UInt32[np.ndarray, " characters"]
    flags: UInt16[np.ndarray, " characters"]
    offsets: Int64[np.ndarray, " pages_and_1"]

    @property
    def lengths(self) -> Int64[np.ndarray, " pages"]:
        """Number of characters of each page."""
        return np.diff(self.offsets) - 1


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
        return (self.kinds & (ALPHABETIC | UNSPACED)) != 0


def joined_pages(texts: Sequence[str]) -> Pages:
    """Returns the characters of pages."""
    codes = scripts.code_points("\n".join(texts) + "\n")
    offsets = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Pages(texts, codes, flags()[codes], offsets)


def cut_words(pages: Pages, language: str) -> Words:
    """Returns the words of pages of a language, which decides how words are cut."""
    positions = np.flatnonzero((pages.flags & SPACE) == 0)
    codes, flags = pages.codes[positions], pages.flags[positions]
    cut = np.ones(len(codes) + 1, bool)  # whether a word begins; the last stands for the end
    np.not_equal(np.diff(positions), 1, out=cut[1:-1])
    marks = np.flatnonzero(flags & MARK)
    _cut_at_marks(pages, positions, Around(codes, flags, cut.copy(), marks), cut, language)
    per_word = characters_per_word(language)
    unspaced = ((flags & UNSPACED) != 0) & (per_word is not None)
    cut[:-1] |= unspaced
    cut[1:] |= unspaced
    begins = np.flatnonzero(cut)
    first = begins[:-1]
    offsets = np.searchsorted(first, np.searchsorted(positions, pages.offsets))
    weights = np.where(unspaced[first], 1 / (per_word or 1), 1.0)
    numbers = np.repeat(np.arange(len(pages.texts)), np.diff(offsets))
    kinds = np.bitwise_or.reduceat(flags, first) if len(first) else flags[:0]
    return Words(codes, flags, positions, marks, begins, offsets, numbers, kinds, weights)


@functools.cache
def flags() -> Flags:
    """Returns the kinds of each character."""
    table = np.zeros(scripts.CODE_POINTS, np.uint16)
    letters = "[" + "".join(rf"\p{{Script={name}}}" for name in SCRIPTS.split()) + "]"
    end_marks = rf"[\p{{Sentence_Terminal}}{KHMER_END_MARKS}]"
    no_symbol = rf"[^{regex.escape(SYMBOLS)}\p{{Cc}}\p{{Sentence_Terminal}}{KHMER_END_MARKS}]"
    for bits, pattern in (
        (SPACE, r"[\s\x1c-\x1f]"),
        (MARK, r"[^\p{L}\p{M}\p{N}]"),
        (EDGE, rf"[{regex.escape(EDGES)}\p{{So}}]"),
        (ICON, r"[…\p{So}]"),
        (LETTER, rf"[{letters}&&[\p{{L}}\p{{M}}]]"),
        (LOWER, rf"[{letters}&&[\p{{L}}\p{{M}}]--\p{{Lu}}]"),
        (UPPER, rf"[{letters}&&[\p{{L}}\p{{M}}]--\p{{Ll}}]"),
        (DIGIT, "[0-9]"),
        (ALPHABETIC, r"\p{L}"),
        (CONTENT, no_symbol),
        (END_MARK, end_marks),
        (BREAK, r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]"),
        (UNSPACED, scripts.UNSPACED_SET),
    ):
        table[scripts.characters_with(pattern)] |= np.uint16(bits)
    return table


@functools.lru_cache(maxsize=64)
def are(characters: str) -> Bool[np.ndarray, "1114112"]:
    """Returns which characters are among a few."""
    table = np.zeros(scripts.CODE_POINTS, bool)
    table[[ord(character) for character in characters]] = True
    return table


class Around:
    """Marks, and the kinds of the characters on both sides in the same run without white space.

    Attributes:
        at: index of each mark among the visible characters.
        code: each mark.
        flag: its kinds.
        first: whether it begins a run.
        last: whether it ends a run.
        before: kinds of the character before it; none for a first one.
        after: kinds of the character behind it; none for a last one.
        dots: whether it is one of several full stops side by side.
        dots_before: whether it is another one than the first of them.
        codes: all visible characters.
        flags: their kinds.
        cut: whether a run begins at each of them.
    """

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

    def among(self, marks: str) -> Bool[np.ndarray, " marks"]:
        """Returns which are among a few."""
        return are(marks)[self.code]


def _cut_at_marks(
    pages: Pages, visible: Positions, around: Around, cut: Cut, language: str
) -> None:
    """Sets in `cut` where words begin beside marks.

    Args:
        pages: characters of pages.
        visible: index of each character that is not white space.
        around: marks among those, and their neighbours.
        cut: whether a word begins at each of those, and at the end; so far at white space.
        language: code of the language.
    """
    if language in EVERY_MARK:
        _keep_blanks(pages, visible, cut)
        alone = around.at[around.among(INDIC_MARKS)]
        cut[alone] = cut[alone + 1] = True
        if language not in URDU:
            _join_numbers(pages, visible, around, cut)
    elif len(around.at):
        _cut_edges(around, cut, language)
        inner = around.at[~(around.first | around.last)]
        _cut_inside(Around(around.codes, around.flags, around.cut, inner), cut, language)
        if language not in WHOLE_HYPHENS:
            _cut_possessives(around, cut, language in ENGLISH)
        cut[around.at[around.dots_before]] = False  # dots stay together
        cut[around.at[_second_apostrophes(around)]] = False


def _keep_blanks(pages: Pages, positions: Positions, cut: Cut) -> None:
    """Takes back the cuts at white space without a space or a tab, inside of pages."""
    at = np.flatnonzero(cut[1:-1]) + 1
    blanks = np.append(0, np.cumsum(are(" \t")[pages.codes]))
    number = np.searchsorted(pages.offsets, positions[at], side="right")
    same_page = number == np.searchsorted(pages.offsets, positions[at - 1], side="right")
    cut[at] = (blanks[positions[at]] > blanks[positions[at - 1]]) | ~same_page


def _join_numbers(pages: Pages, positions: Positions, around: Around, cut: Cut) -> None:
    """Takes back the cuts around a mark between two digits, at most a blank apart: 1.5; 19, 20."""
    at = around.at[around.among(",.:/")]
    at = at[(at > 0) & (at < len(around.codes) - 1)]
    at = at[(around.flags[at - 1] & around.flags[at + 1] & DIGIT) != 0]
    blank = are(" \t")
    for neighbour in (0, 1):
        last = positions[at + neighbour]
        gap = last - positions[at + neighbour - 1]
        at = at[(gap == 1) | ((gap == 2) & blank[pages.codes[last - 1]])]
    cut[at] = cut[at + 1] = False


def _cut_edges(around: Around, cut: Cut, language: str) -> None:
    """Cuts marks off both ends of each run without white space, as long as there are some."""
    edge = ((around.flag & EDGE) != 0) | around.dots
    prefix = edge | around.among(ONLY_BEFORE)
    prefix |= (around.code == ord("+")) & ((around.after & DIGIT) == 0)
    if language in SLASHES_BEFORE:
        prefix |= around.code == ord("/")
    adjacent = np.diff(around.at, prepend=-2) == 1
    cut[around.at[_reached_marks(prefix, around.first, adjacent)] + 1] = True
    digit_before = (around.before & DIGIT) != 0
    suffix = edge | (digit_before & around.among(CURRENCIES + "+"))
    stop = (around.code == ord(".")) & _ends_a_sentence(around, cut, language)
    if language in SLASHES_AFTER:
        suffix |= around.code == ord("/")
    suffix |= stop & ~digit_before if language in ORDINALS else stop
    backwards = np.append(adjacent[1:], False)[::-1]
    cut[around.at[_reached_marks(suffix[::-1], around.last[::-1], backwards)[::-1]]] = True


def _ends_a_sentence(around: Around, cut: Cut, language: str) -> Bool[np.ndarray, " marks"]:
    """Returns which marks follow a small letter, a digit, a mark or two capitals; not "a."."""
    before, previous = around.before, np.maximum(around.at - 1, 0)
    second = around.flags[np.maximum(around.at - 2, 0)]
    capitals = (before & second & UPPER) != 0
    capitals &= ~around.cut[previous]
    if language in STOPS_AFTER_LETTERS:
        return capitals
    marks = are("%²-+")[around.codes[previous]] & ~around.first
    ends = ((before & (LOWER | DIGIT | EDGE)) != 0) | marks | capitals
    letter = around.codes[previous] - np.uint32(ord("a")) < 26
    return ends & ~(letter & cut[previous])


def _reached_marks(
    passes: Bool[np.ndarray, " marks"],
    begins: Bool[np.ndarray, " marks"],
    adjacent: Bool[np.ndarray, " marks"],
) -> Bool[np.ndarray, " marks"]:
    """Returns the marks of each unbroken run of passing marks that starts at a begin."""
    index = np.arange(len(passes))
    stops = ~passes | (~adjacent & ~begins)
    last_begin = np.maximum.accumulate(np.where(begins, index, -1))
    last_stop = np.maximum.accumulate(np.where(stops, index, -1))
    return last_begin > last_stop


def _cut_inside(around: Around, cut: Cut, language: str) -> None:
    """Cuts words in two at a mark between letters or digits, and at dots and icons anywhere."""
    before, after, code = around.before, around.after, around.code

    def between(left: int, right: int) -> Bool[np.ndarray, " marks"]:
        return ((before & left) != 0) & ((after & right) != 0)

    letters = between(LETTER, LETTER)
    alike = LETTER | DIGIT
    hyphened = letters & (language not in WHOLE_HYPHENS)
    if language in DIGITS_AND_HYPHENS:
        hyphened = between(alike, alike)
    elif language in ENGLISH:
        hyphened = between(alike, LETTER)
    stops = (alike, UPPER | DIGIT) if language in FULL_STOPS else (LOWER, UPPER)
    operators = "+*^" if language in WHOLE_RANGES else "+*^-"
    alone = (
        (hyphened & around.among("-–—~"))
        | (letters & (code == ord(",")))
        | (between(alike, LETTER) & around.among(":<>=" if language in WHOLE_SLASHES else ":<>=/"))
        | (between(*stops) & (code == ord(".")))
        | (between(DIGIT, DIGIT) & around.among(operators))
    )
    if language in SLASHES_AFTER | SLASHES_BEFORE:
        alone |= between(alike, alike) & (code == ord("/"))
    alone &= ~_in_addresses(around)
    alone |= ((around.flag & ICON) != 0) | around.dots
    cut[around.at[alone]] = cut[around.at[alone] + 1] = True
    cut[around.at[around.among(TSHEG)] + 1] = True
    if language in ELISIONS:
        cut[around.at[letters & around.among("'’")] + 1] = True


def _in_addresses(around: Around) -> Bool[np.ndarray, " marks"]:
    """Returns which marks are in a run with :// or with @ between letters or digits."""
    alike = LETTER | DIGIT
    at_sign = (around.code == ord("@")) & ((around.before & alike) != 0)
    at_sign &= (around.after & alike) != 0
    colon = np.flatnonzero(around.code == ord(":"))
    slashes = around.codes[np.minimum(around.at[colon, None] + (1, 2), len(around.codes) - 1)]
    at_sign[colon[(slashes == ord("/")).all(axis=1)]] = True
    if not at_sign.any():
        return at_sign
    run = np.cumsum(around.cut)[around.at]
    return np.isin(run, run[at_sign])


def _cut_possessives(around: Around, cut: Cut, english: bool) -> None:
    """Cuts 's off the end of words, and in English n't, 'm, 'd, 're, 've and 'll."""
    quotes = around.at[around.among("'’") & ~around.first & ~around.last]
    following = around.codes[quotes + 1]
    single = cut[quotes + 2]
    if english:
        negated = single & (following == ord("t")) & (around.codes[quotes - 1] == ord("n"))
        after = np.minimum(quotes + 2, len(around.codes) - 1)
        pairs = are("rvl")[following] & cut[np.minimum(quotes + 3, len(cut) - 1)] & ~single
        double = np.where(following == ord("l"), ord("l"), ord("e")) == around.codes[after]
        cut[quotes[negated] - 1] = True
        cut[quotes[(pairs & double) | (single & are("md")[following])]] = True
    cut[quotes[single & are("sS")[following]]] = True


def _second_apostrophes(around: Around) -> Bool[np.ndarray, " marks"]:
    """Returns the second one of exactly two apostrophes: they are one mark, as in wikis."""
    apostrophe = ord("'")
    before = around.codes[np.maximum(around.at - 1, 0)]
    second = (around.code == apostrophe) & ~around.first & (before == apostrophe)
    return second & ~np.append(second[1:], False) & ~np.append(False, second[:-1])
