"""mC4's rules for the length of a page and of its lines (mT5 paper, section 3.1).

Lengths are in characters, not bytes, so a page in Chinese or Korean needs two to three times the
content of one in English. That bias of the reference is kept, as its corpus has it. Readers of web
archives drop blank lines before these rules: a paragraph is a line.
"""

import heapq

from data.reading.page import Page

LONGEST_PAGE_CHARACTERS = 190_000


def too_long(page: Page) -> str | None:
    """Rejects pages of more than 190,000 characters."""
    return "too_long" if len(page.text) > LONGEST_PAGE_CHARACTERS else None


def too_few_long_lines(page: Page, *, lines: int, characters: int) -> str | None:
    """Rejects pages with fewer than `lines` lines of at least `characters` characters."""
    longest = heapq.nlargest(lines, map(len, page.text.split("\n")))
    if len(longest) < lines or longest[-1] < characters:
        return "too_few_long_lines"
    return None
