"""Do held-out pages share a line with training pages? A model that has read the line knows it.

Two lines are the same if they read the same (`line_rules.unicode_line_hashes`): composed letters,
folded case, any white space one space. That is the widest of the forms by which cleaning removes
duplicate lines, so it also finds what a narrower rule let through. Blank lines are no lines. Pages
of all languages are looked at together: an English line may stand on a Swahili page.

Only the held-out pages' lines are held in memory; training pages stream by.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import xxhash

from data.rules.line_rules import lines_as_read, unicode_line_hashes

EXAMPLES = 5
BLANK = xxhash.xxh3_128_digest(b"")


class HeldOutText(NamedTuple):
    """A held-out page as far as its lines go."""

    language: str
    text: str


class SharedLines(NamedTuple):
    """What is shared in one language.

    Attributes:
        lines: of its held-out pages, blank ones left out.
        shared_lines: of them, those that also stand on a training page.
        pages: held out.
        pages_sharing: of them, those with such a line.
        examples: some of those lines, in the form in which they were compared; text from the web.
    """

    lines: int
    shared_lines: int
    pages: int
    pages_sharing: int
    examples: tuple[str, ...]


def shared_lines(
    held_out: Sequence[HeldOutText], training: Iterable[str]
) -> dict[str, SharedLines]:
    """Returns what each language's held-out pages share with any training page.

    Args:
        held_out: the held-out pages.
        training: the texts of all training pages.
    """
    hashes = [hashes_of_lines(page.text) for page in held_out]
    known = {line for page in hashes for line in page}
    found: set[bytes] = set()
    for text in training:
        found |= known.intersection(unicode_line_hashes(text))
    by_language: dict[str, list[tuple[str, list[bytes]]]] = defaultdict(list)
    for page, lines in zip(held_out, hashes, strict=True):
        by_language[page.language].append((page.text, lines))
    return {code: _counted(pages, found) for code, pages in sorted(by_language.items())}


def hashes_of_lines(text: str) -> list[bytes]:
    """Returns the hash of each line that is not blank."""
    return [line for line in unicode_line_hashes(text) if line != BLANK]


def _counted(pages: Sequence[tuple[str, list[bytes]]], found: set[bytes]) -> SharedLines:
    """Returns one language's counts; of its pages texts and hashes of lines are given."""
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
