"""Line deduplication: of all pages with a line, one keeps it (C4, `remove_duplicate_text`).

    b.example "Home / News of today"      md5(b) < md5(a)      "Home / News of today"
    a.example "home / Other news"                        ->    "Other news"

Lines are equal if they are equal after stripping and lower-casing; for `mswitch-web`, also after
Unicode composition and normalized spacing. The page whose address has the smallest MD5 keeps the
line, which favours no site; within a page the first of equal lines is kept.
Invariant: every distinct line of the input survives in exactly one page, once.

The survivors are computed for millions of lines at once, from 28 bytes each: the line's hash (128
bits, XXH3: 2.4 times as fast as MD5; among 10¹² lines two different ones collide with probability
1e-15), the page's rank, and the line's number. No text is moved.
"""

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import xxhash
from jaxtyping import Bool, UInt64

from data.numbers import has_equal
from data.scripts import compose
from data.urls import url_hash

Hashes = UInt64[np.ndarray, "lines 2"]
LineHashes = Callable[[str], list[bytes]]


def line_hashes(text: str) -> list[bytes]:
    """Returns the 16-byte hash of each line, in order; equal lines have equal hashes."""
    digest = xxhash.xxh3_128_digest
    return [digest(line.strip().encode("utf-8")) for line in text.lower().split("\n")]


def unicode_line_hashes(text: str) -> list[bytes]:
    """Returns the 16-byte hash of each line in the form of `lines_as_read`, in order.

    Letters are composed (NFC), as keyboards encode the tones of Yoruba and Vietnamese differently.
    Case is folded, which lower-casing does not do in every script. Any white space counts as one
    space, as copies of a page differ in no-break and double spaces.
    """
    digest = xxhash.xxh3_128_digest
    return [digest(line.encode("utf-8")) for line in lines_as_read(text)]


def lines_as_read(text: str) -> list[str]:
    """Returns the normalized form of each line, equal for lines that look the same."""
    folded = compose(text).casefold()
    lines = unicodedata.normalize("NFC", folded).split("\n")  # its runs of marks are short now
    return [" ".join(line.split()) for line in lines]


def as_numbers(hashes: Sequence[bytes]) -> Hashes:
    """Returns each hash as two numbers, the first in the order of the bytes."""
    numbers = np.frombuffer(b"".join(hashes), dtype=">u8").reshape(-1, 2)
    return numbers.astype(np.uint64)


def rank_of(url: str) -> int:
    """Returns the rank by which pages compete for a line: the first 8 bytes of the MD5."""
    return int.from_bytes(url_hash(url)[:8], "big")


def surviving_lines(
    hashes: Hashes, ranks: UInt64[np.ndarray, " lines"], numbers: UInt64[np.ndarray, " lines"]
) -> Bool[np.ndarray, " lines"]:
    """Returns which lines are kept: among equal lines, the one with the smallest (rank, number).

    The result does not depend on the order of the lines. Each chunk of the input keeps only its
    local minima, as min is associative.

    Args:
        hashes: hash of each line.
        ranks: rank of the page that each line is in.
        numbers: number of each line, increasing within a page and over all pages.
    """
    stays = np.ones(len(hashes), dtype=bool)
    rivals = np.flatnonzero(has_equal(hashes[:, 0]))  # most lines have no equal
    first, second = hashes[rivals].T
    rivals = rivals[np.lexsort((numbers[rivals], ranks[rivals], second, first))]
    stays[rivals[1:]] = (hashes[rivals[1:]] != hashes[rivals[:-1]]).any(axis=1)
    return stays


def keep_lines(text: str, stays: Sequence[bool] | Bool[np.ndarray, " lines"]) -> str:
    """Returns the text without the lines that are kept elsewhere, and without its own repeats."""
    lines = zip(text.split("\n"), stays, strict=True)
    return "\n".join(line for line, kept in lines if kept)
