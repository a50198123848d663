"""Text that is not a language: digests, tables of numbers, addresses, a wrong charset.

Identifiers answer for such pages too, and often with certainty. Three properties tell them from
prose, whose bounds were set on 36,509 texts of about 1,000 characters in 107 languages (among them
interface messages full of placeholders) of which 0.03 % pass one of them:

    letters are less than half of what is printed      numbers, hexadecimal digits, drawings
    symbols are more than 15 %                         code, UTF-8 read as Latin-1
    most of it stands in runs of 30 ASCII characters   base64, lists of addresses, minified code

Code with comments, or random letters in words, passes; identifiers disagree on the latter.
"""

import numpy as np
from jaxtyping import UInt32

from data.language_id.page_characters import PageCharacters

FEWEST_LETTERS = 0.5  # share of the printed characters; prose has 0.8 or more
MOST_SYMBOLS = 0.15  # 0.095 in one prose text of a thousand
LONG_RUN = 30
MOST_IN_LONG_RUNS = 0.65
FEWEST_OTHERS = 0.08  # share of digits and symbols where long runs are looked for


def is_no_language(points: UInt32[np.ndarray, " characters"], characters: PageCharacters) -> bool:
    """Returns whether a text, of which code points and counts are given, is not a language."""
    printed = characters.printed
    if printed == 0:
        return False
    if characters.letters < FEWEST_LETTERS * printed or characters.symbols > MOST_SYMBOLS * printed:
        return True
    others = characters.symbols + characters.digits
    return others > FEWEST_OTHERS * printed and _in_long_runs(points) > MOST_IN_LONG_RUNS * printed


def _in_long_runs(points: UInt32[np.ndarray, " characters"]) -> int:
    """Returns the number of ASCII characters in long runs without white space."""
    ends = np.flatnonzero((points <= 32) | (points > 126))
    runs = np.diff(ends, prepend=-1, append=len(points)) - 1
    return int(runs[runs > LONG_RUN].sum())
