"""Lines of held-out pages that are also on a training page.

Two lines are equal under `unicode_line_hashes`: NFC, folded case, any white space as one space.
That is the widest form by which cleaning removes duplicate lines, so it also finds what a narrower
rule kept. Blank lines are ignored. Pages of all languages are compared with each other, since a
Swahili page may have an English line. Only the lines of held-out pages are in memory; training
pages are streamed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import xxhash

from data.dedup.line_dedup import lines_as_read, unicode_line_hashes

EXAMPLES = 5
BLANK = xxhash.xxh3_128_digest(b"")


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
    held_out: Mapping[str, Sequence[str]], training: Iterable[str]
) -> dict[str, SharedLines]:
    """Returns, per language with held-out pages, the lines that they share with training pages.

    Args:
        held_out: texts of all held-out pages, by language.
        training: texts of all training pages.
    """
    hashes = {
        code: [[line for line in unicode_line_hashes(text) if line != BLANK] for text in texts]
        for code, texts in sorted(held_out.items())
        if texts
    }
    held_out_lines = {line for pages in hashes.values() for page in pages for line in page}
    shared: set[bytes] = set()
    for text in training:
        shared |= held_out_lines.intersection(unicode_line_hashes(text))
    counts = {}
    for code, pages in hashes.items():
        shared_per_page = [sum(line in shared for line in page) for page in pages]
        examples = Counter(
            line
            for text, count in zip(held_out[code], shared_per_page, strict=True)
            if count
            for line in lines_as_read(text)
            if xxhash.xxh3_128_digest(line.encode("utf-8")) in shared
        )
        counts[code] = SharedLines(
            lines=sum(map(len, pages)),
            shared_lines=sum(shared_per_page),
            pages=len(pages),
            pages_sharing=sum(count > 0 for count in shared_per_page),
            examples=tuple(line for line, _ in examples.most_common(EXAMPLES)),
        )
    return counts
