"""Line rules of `mswitch-web`: C4's, with end marks and words of every script instead of English.

C4's line rules are specific to English. mC4 leaves them out and therefore keeps menus and buttons.
Here the tests are the same in every script, and the first one that a line fails counts:

    [12]                                          cut out before the tests
    a word of more than 1,000 characters          line removed
    no end mark at its end, or an ellipsis        line removed
    fewer than five words                         line removed
    "lorem ipsum"                                 page rejected
    "javascript"                                  line removed

An end mark is a character with Unicode's property Sentence_Terminal (`.`, `।`, `؟`, `。`, `።`, `។`,
`။`, `։`, ...), or a quotation mark as in C4. Closing brackets and quotes may follow (UAX 29, rule
SB9), and so may invisible characters: Javanese pages end lines with zero-width spaces. Some scripts
end sentences with marks that have another meaning elsewhere. Thai and Lao have no mark, so their
lines need none.

    "Habari za leo."   "यह एक वाक्य है।"   "これは文です。）"   "นี่คือประโยคเต็ม"      kept
    "Home | Contact"   "और पढ़ें..."         "もっと読む…"                            removed

In scripts without spaces a word is six characters of weight 1 (`scripts`), the content of an
English word and its space. C4's phrases for cookies and terms and its brace are left out: the
phrases are English, and a brace indicates code in any language.
"""

import functools
from collections import Counter
from typing import NamedTuple

import numpy as np
import regex
from jaxtyping import Int

from data import scripts
from data.reading.page import Page
from data.rules.english_lines import Cleaned

FEWEST_WORDS = 5
LONGEST_WORD_CHARACTERS = 1000
WEIGHT_PER_WORD = 6  # characters with a space: English UDHR 5.98
ELLIPSES = ("...", "…", "。。。", "⋯")
TAIL_CHARACTERS = 12  # the end of a line, which is searched for its end mark
CITATION = regex.compile(r"\[\d*\]")
CLOSE = r"[\p{Sentence_Break=Close}\p{Default_Ignorable_Code_Point}\s]*"
END_MARK = regex.compile(
    rf"""(?: [\p{{Sentence_Terminal}}\p{{Quotation_Mark}}--']
          | \p{{Greek}} {CLOSE} ;          # the Greek question mark, which NFC makes a semicolon
          | \p{{Armenian}} {CLOSE} :       # typed for ։
          | ፡፡ | \p{{Ethiopic}} {CLOSE} :: # two word spaces, typed for ።
          | [׃།༎༏༐༑༔]                    # Hebrew verses, Tibetan: not in Sentence_Terminal
          | [\p{{Thai}}\p{{Lao}}]           # sentences end with a space, or nothing
        ) {CLOSE} $""",
    flags=regex.V1 | regex.VERBOSE,
)
SPACED = rf"(?:(?!{scripts.UNSPACED_SET})\S)"
# Begins where a word begins: else each letter of a word of 1,000 would be tried.
LONG_WORD = regex.compile(
    rf"(?<!{SPACED}){SPACED}{{{LONGEST_WORD_CHARACTERS + 1}}}", flags=regex.V1
)


class Measured(NamedTuple):
    """Measures of each line of a text.

    Attributes:
        half_characters: weighted length, in half characters.
        words: number of words, by spaces or by weight.
    """

    half_characters: Int[np.ndarray, " lines"]
    words: Int[np.ndarray, " lines"]


def measure(text: str) -> Measured:
    """Returns the weighted length and the number of words of each line."""
    codes = scripts.code_points(text + "\n")
    weights = scripts.weights()[codes].astype(np.int64)
    kinds = scripts.kinds()[codes]
    in_a_word = kinds == scripts.IN_A_WORD
    begins = in_a_word & ~np.concatenate(([False], in_a_word[:-1]))
    unspaced = np.where(kinds == scripts.UNSPACED, weights, 0)
    ends = np.flatnonzero(codes == ord("\n"))
    sums = (np.cumsum(values)[ends] for values in (begins, unspaced, weights))
    begun, unspaced, weights = (np.diff(line_sums, prepend=0) for line_sums in sums)
    words = begun + unspaced // (WEIGHT_PER_WORD * scripts.HALVES)
    return Measured(weights - scripts.HALVES, words)  # without the newline


def clean(text: str) -> Cleaned:
    """Applies the line rules to a page's text."""
    text = CITATION.sub("", text)
    removed: Counter[str] = Counter()
    kept: list[str] = []
    for line, words in zip(text.split("\n"), measure(text).words.tolist(), strict=True):
        line = line.strip()
        reason = _reason(line, words)
        if reason == "lorem_ipsum":
            return Cleaned(text, removed, reason)
        if reason is None:
            kept.append(line)
        else:
            removed[reason] += 1
    return Cleaned("\n".join(kept), removed, None if kept else "no_sentences")


def too_few_long_lines(page: Page, *, lines: int, characters: int) -> str | None:
    """Rejects pages with fewer than `lines` lines of at least `characters` weighted characters."""
    long = measure(page.text).half_characters >= characters * scripts.HALVES
    return "too_few_long_lines" if np.count_nonzero(long) < lines else None


def too_few_long_lines_left(page: Page, *, lines: int, characters: int) -> str | None:
    """Applies `too_few_long_lines` after line deduplication, under a reason of its own."""
    too_few = too_few_long_lines(page, lines=lines, characters=characters)
    return "too_few_long_lines_left" if too_few else None


def ends_a_sentence(line: str) -> bool:
    """Returns whether a stripped line ends as a sentence does in its script."""
    if line.endswith(ELLIPSES):
        return False
    return line[-1:] in _terminals() or END_MARK.search(line[-TAIL_CHARACTERS:]) is not None


def _reason(line: str, words: int) -> str | None:
    if len(line) > LONGEST_WORD_CHARACTERS and LONG_WORD.search(line) is not None:
        return "line_with_long_word"
    if not ends_a_sentence(line):
        return "line_without_end_mark"
    if words < FEWEST_WORDS:
        return "line_of_few_words"
    lower = line.lower()
    if "lorem ipsum" in lower:
        return "lorem_ipsum"
    return "line_about_javascript" if "javascript" in lower else None


@functools.cache
def _terminals() -> frozenset[str]:
    """Returns all characters that end a sentence, for a test that is faster than the pattern."""
    return frozenset(map(chr, scripts.characters_with(r"\p{Sentence_Terminal}").tolist()))
