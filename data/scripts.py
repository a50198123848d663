"""Scripts: the weight of a character's information, letters of words, and text in one form (NFC).

The tables cover all code points and are built once from Unicode's properties (`regex`). A page is
then looked up in a few NumPy calls, and no rule is specific to English.

A character's weight is the number of English characters with the same content, measured on parallel
text (UDHR, TICO-19, open-source guides, GNOME help; medians of English length / length):

    Han       2.9 to 3.7  -> 3      Thai, Lao, Khmer   1.0 to 1.1  -> 1
    Hangul    1.7 to 2.3  -> 2      Burmese            0.7 to 0.8  -> 1, so no page is worse off
    Ethiopic  1.5 to 1.9  -> 1.5    Arabic, Hebrew     1.1 to 1.9  -> 1, as vowels may be written
    Kana      1.5: Japanese as a whole then comes out at 1.8 (measured 1.6 to 2.5)

Weights are stored in half characters, so that all sums are integers.
"""

import functools
import unicodedata

import numpy as np
import regex
from jaxtyping import UInt8, UInt32

CODE_POINTS = 0x110000
HALVES = 2  # half characters in a character of weight 1
SEPARATOR, IN_A_WORD, UNSPACED = 0, 1, 2

WEIGHT_IN_HALVES = {
    r"\p{Script=Han}": 6,
    r"\p{Script=Hangul}": 4,
    r"[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Ethiopic}]": 3,
}
WORD = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Join_Control}]"  # UTS 18, word characters
# East Asian letters, and "complex context": what Unicode cannot break without a dictionary
# (UAX 14, class SA: Thai, Lao, Khmer, Burmese, ...).
UNSPACED_SET = (
    r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Yi}]&&\p{Alphabetic}]"
    r"|\p{Line_Break=Complex_Context}"
)
Table = UInt8[np.ndarray, "1114112"]


def code_points(text: str) -> UInt32[np.ndarray, " characters"]:
    """Returns the code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def characters_with(pattern: str) -> UInt32[np.ndarray, " found"]:
    """Returns the code points of all characters that the pattern matches, in order."""
    return code_points("".join(regex.findall(pattern, _all_characters(), flags=regex.V1)))


@functools.cache
def weights() -> Table:
    """Returns the weight of each character, in half characters."""
    table = np.full(CODE_POINTS, HALVES, np.uint8)
    for pattern, halves in WEIGHT_IN_HALVES.items():
        table[characters_with(pattern)] = halves
    return table


@functools.cache
def kinds() -> Table:
    """Returns the kind of each character: SEPARATOR, IN_A_WORD, or UNSPACED."""
    table = np.full(CODE_POINTS, SEPARATOR, np.uint8)
    table[characters_with(WORD)] = IN_A_WORD
    table[characters_with(UNSPACED_SET)] = UNSPACED
    return table


@functools.cache
def _all_characters() -> str:
    return "".join(map(chr, (*range(0xD800), *range(0xE000, CODE_POINTS))))


# Unicode's Stream-Safe Text Format (UAX #15) allows 30 marks in a row; no language has ten.
# They are sorted by insertion: 100,000 of two kinds take minutes.
BEYOND = regex.compile(r"(\p{M}{30})\p{M}+")


def compose(text: str) -> str:
    """Returns a text in NFC, without the marks beyond 30 in a row."""
    return unicodedata.normalize("NFC", with_short_runs(text))


def with_short_runs(text: str) -> str:
    """Returns a text without the marks beyond 30 in a row, which any normal form may sort."""
    return text if text.isascii() else BEYOND.sub(r"\1", text)
