"""Kinds of characters that the words of a page depend on, as bits of one number per code point."""

import functools

import numpy as np
import regex
from jaxtyping import Bool, UInt16

from data import scripts

SPACE = 1  # str.isspace
MARK = 2  # neither a letter, a combining mark nor a digit: words may begin or end at it
EDGE = 4  # a mark that is cut off the begin and the end of a word
ICON = 8  # a mark that is cut out of the middle of a word, too
LETTER, LOWER, UPPER = (
    16,
    32,
    64,
)  # of the scripts that spaCy's rules name; uncased letters are both
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

Flags = UInt16[np.ndarray, "1114112"]


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
