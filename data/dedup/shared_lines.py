"""Contamination check: lines of held-out pages that are also on a training page.

Two lines are equal under `line_dedup.unicode_line_hashes`: NFC, folded case, any white space as one
space. That is the widest form by which cleaning removes duplicate lines, so it also finds what a
narrower rule kept. Blank lines are ignored. Pages of all languages are compared with each other,
since a Swahili page may have an English line.

Only the lines of held-out pages are in memory; training pages are streamed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import xxhash

from data.dedup.line_dedup import lines_as_read, unicode_line_hashes

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
