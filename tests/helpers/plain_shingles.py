"""The shingles of a page as a set of tuples of words, in plain Python."""

import unicodedata

import regex

WORD = regex.compile(
    r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}]&&\p{Alphabetic}]|\p{Line_Break=Complex_Context}"
    r"|[[\p{Alphabetic}\p{M}\p{Nd}\p{Join_Control}]--[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}"
    r"\p{Line_Break=Complex_Context}]]+",
    flags=regex.V1,
)
Shingle = tuple[str, ...]


def shingle_set(text: str, in_a_row: int) -> frozenset[Shingle]:
    """Returns each run of words once; of a page with fewer words, all of them."""
    text = regex.sub(r"\p{Nd}+", "0", unicodedata.normalize("NFC", text))
    words = [word.casefold() for word in WORD.findall(text)]
    if 0 < len(words) < in_a_row:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[i : i + in_a_row]) for i in range(len(words) - in_a_row + 1))
