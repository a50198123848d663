"""Line deduplication: of all pages that hold a line, one keeps it (C4, `remove_duplicate_text`).

Lines are the same if they are the same stripped and in lower case. The page whose address has the
smallest MD5 keeps the line, which favours no site; inside a page the first of equal lines stays.
The invariant: every distinct line of the input survives in exactly one page, once.

    b.example "Home / News of today"      md5(b) < md5(a)      "Home / News of today"
    a.example "home / Other news"                        ->    "Other news"
"""

import hashlib
from collections.abc import Collection, Iterator


def line_hash(line: str) -> bytes:
    """Returns the hash under which equal lines meet."""
    return hashlib.md5(line.strip().lower().encode("utf-8"), usedforsecurity=False).digest()


def distinct_lines(text: str) -> set[bytes]:
    """Returns the hashes of a page's lines."""
    return {line_hash(line) for line in text.split("\n")}


def keep_lines(text: str, kept: Collection[bytes]) -> str:
    """Returns the text without lines that other pages keep and without repeats of its own."""
    return "\n".join(_kept_once(text, set(kept)))


def _kept_once(text: str, kept: set[bytes]) -> Iterator[str]:
    for line in text.split("\n"):
        digest = line_hash(line)
        if digest in kept:
            kept.remove(digest)
            yield line
