"""Digits of every script as ASCII, and the places of a page where many digits stand together.

Numbers are searched only there: a page has few such places, and patterns are slow.
"""

import functools
from collections.abc import Iterator

import regex

from data import scripts
from data.privacy.spans import with_margin

# Six digits, as in the Mexican RFC; the most characters between two are the three of "12 - 34".
DENSE = regex.compile(r"\d(?:[^\d\n]{0,3}\d){5,}")
MARGIN = 20  # characters before and after: a plus, brackets, letters of a number
# No number begins right after a letter of a script with spaces. Thai, Lao, Burmese, Khmer and East
# Asian letters are left out: there a number follows without a space.
NOT_IN_A_WORD = (
    r"(?<![0-9A-Za-z_])(?<!(?=[^\W_])[\u00c0-\u0dff\u0f00-\u0fff\u10a0-\u177f\u1800-\u1fff])"
)
# Nor after the comma of 1,234,567. A comma behind a word or a longer number ends a cell of a table.
NOT_GROUPED = "".join(rf"(?<!(?<![0-9])[0-9]{{{count}}},)" for count in (1, 2, 3))
# Signs within numbers, one character for one, so that positions stay.
SAME = {
    "-": "‐‑‒–—―−－﹣",
    " ": "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t",
    "+": "＋﹢", "(": "（", ")": "）", ".": "．", "/": "／",
}  # fmt: skip


def with_ascii_digits(text: str) -> str:
    """Returns the text with ASCII digits, hyphens and spaces for those of other scripts.

    No character is added or removed.
    """
    return text if text.isascii() else text.translate(_ascii())


def dense_places(text: str) -> Iterator[tuple[int, int]]:
    """Returns where six digits or more stand close together, with a margin; in order, disjoint."""
    return with_margin((found.span() for found in DENSE.finditer(text)), MARGIN, len(text))


@functools.cache
def _ascii() -> dict[int, str]:
    digits = map(chr, scripts.characters_with(r"\p{Nd}").tolist())  # from 0 to 9 in each script
    signs = {other: sign for sign, others in SAME.items() for other in others}
    return str.maketrans({d: str(number % 10) for number, d in enumerate(digits)} | signs)
