"""Rules that judge a page by its text alone, as mC4 does (mT5 paper, section 3.1).

Lengths are in characters, not bytes, so a page in Chinese or Korean must say two to three times as
much to pass as one in English. That is the reference's bias, kept because its corpus has it.
Blank lines are gone before these rules see a page of a web archive: a paragraph is a line.
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
