"""Line deduplication: of all pages that hold a line, one keeps it (C4, `remove_duplicate_text`).

Lines are the same if they are the same stripped and in lower case; for `mswitch-web`, also if one
is composed, or spaced, otherwise than the other. The page whose address has the smallest MD5 keeps
the line, which favours no site; inside a page the first of equal lines stays.
The invariant: every distinct line of the input survives in exactly one page, once.

    b.example "Home / News of today"      md5(b) < md5(a)      "Home / News of today"
    a.example "home / Other news"                        ->    "Other news"
"""

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Iterator

LineHash = Callable[[str], bytes]


def line_hash(line: str) -> bytes:
    """Returns the hash under which equal lines meet."""
    return hashlib.md5(line.strip().lower().encode("utf-8"), usedforsecurity=False).digest()


def unicode_line_hash(line: str) -> bytes:
    """Returns the hash under which lines meet that read the same.

    Letters are composed (NFC), so that it does not matter how a keyboard wrote Yoruba's or
    Vietnamese's tones; case is folded, which lower case is not in every script; and any white space
    counts as one space, since copies of a page differ in no-break spaces and double ones.
    """
    return line_hash(same_line(line))


def same_line(line: str) -> str:
    """Returns the form in which lines that read the same are the same."""
    if line.isascii():
        return " ".join(line.split()).lower()
    folded = unicodedata.normalize("NFC", line).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def distinct_lines(text: str, hash_of: LineHash = line_hash) -> set[bytes]:
    """Returns the hashes of a page's lines."""
    return {hash_of(line) for line in text.split("\n")}


def keep_lines(text: str, kept: Collection[bytes], hash_of: LineHash = line_hash) -> str:
    """Returns the text without lines that other pages keep and without repeats of its own."""
    return "\n".join(_kept_once(text, set(kept), hash_of))


def _kept_once(text: str, kept: set[bytes], hash_of: LineHash) -> Iterator[str]:
    for line in text.split("\n"):
        digest = hash_of(line)
        if digest in kept:
            kept.remove(digest)
            yield line
