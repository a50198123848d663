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

The same hashes show which lines of held-out pages are also on a training page. There two lines are
equal under `unicode_line_hashes`: NFC, folded case, any white space as one space. That is the
widest form by which cleaning removes duplicate lines, so it also finds what a narrower rule kept.
Blank lines are ignored. Pages of all languages are compared with each other, since a Swahili page
may have an English line. Only the lines of held-out pages are in memory; training pages are
streamed.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool, UInt64

from data.numbers import has_equal
from data.scripts import composed
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
    folded = composed(text).casefold()
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
    """Returns which lines are kept: of equal ones that of the smallest rank, then smallest number.

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
    lines = text.split("\n")
    return "\n".join(line for line, kept in zip(lines, stays, strict=True) if kept)


EXAMPLES = 5
BLANK = xxhash.xxh3_128_digest(b"")


class HeldOutText(NamedTuple):
    """Language and text of a held-out page."""

    language: str
    text: str


class SharedLines(NamedTuple):
    """Counts of one language.

    Attributes:
        lines: number of lines of its held-out pages, without blank ones.
        shared_lines: number of those lines that are also on a training page.
        pages: number of held-out pages.
        pages_sharing: number of held-out pages with such a line.
        examples: some shared lines, in the form in which they are compared; text from the web.
    """

    lines: int
    shared_lines: int
    pages: int
    pages_sharing: int
    examples: tuple[str, ...]


def shared_lines(
    held_out: Sequence[HeldOutText], training: Iterable[str]
) -> dict[str, SharedLines]:
    """Returns per language what its held-out pages share with any training page.

    Args:
        held_out: all held-out pages.
        training: texts of all training pages.
    """
    hashes = [hashes_of_lines(page.text) for page in held_out]
    held_out_lines = {line for page in hashes for line in page}
    found: set[bytes] = set()
    for text in training:
        found |= held_out_lines.intersection(unicode_line_hashes(text))
    by_language: dict[str, list[tuple[str, list[bytes]]]] = defaultdict(list)
    for page, lines in zip(held_out, hashes, strict=True):
        by_language[page.language].append((page.text, lines))
    return {code: _counted(pages, found) for code, pages in sorted(by_language.items())}


def hashes_of_lines(text: str) -> list[bytes]:
    """Returns the hash of each line that is not blank."""
    return [line for line in unicode_line_hashes(text) if line != BLANK]


def _counted(pages: Sequence[tuple[str, list[bytes]]], found: set[bytes]) -> SharedLines:
    """Returns one language's counts, from the texts and line hashes of its pages."""
    shared = [sum(line in found for line in lines) for _, lines in pages]
    examples = Counter(
        line
        for (text, _), count in zip(pages, shared, strict=True)
        if count
        for line in lines_as_read(text)
        if xxhash.xxh3_128_digest(line.encode("utf-8")) in found
    )
    return SharedLines(
        lines=sum(len(lines) for _, lines in pages),
        shared_lines=sum(shared),
        pages=len(pages),
        pages_sharing=sum(count > 0 for count in shared),
        examples=tuple(line for line, _ in examples.most_common(EXAMPLES)),
    )
