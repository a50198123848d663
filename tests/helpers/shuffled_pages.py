"""Pages that the rules for the web keep: words of the shipped text, in another order each time."""

import random
from collections.abc import Iterator

from data.demo import pages_of
from data.languages import all_languages
from data.reading.page import Page

LINES, CHARACTERS = 4, 450  # of a page and of a line; the rules ask for three lines of 200
PART = 6  # characters that stay together where words have no spaces between them


def shuffled_pages(of_each_language: int) -> Iterator[Page]:
    """Yields pages language by language; the same at each call."""
    for language in all_languages():
        found = [page for page in pages_of(language) if ".declaration." in page.url]
        text = " ".join(page.text for page in found)
        words = text.split()
        spaced = len(text) < 15 * len(words)
        parts = words if spaced else [text[at : at + PART] for at in range(0, len(text), PART)]
        for number in range(of_each_language if found else 0):
            drawn = random.Random(f"{language.code} {number}")
            lines = (line_of(parts, drawn, " " if spaced else "") for _ in range(LINES))
            url = f"https://{language.code}.shuffled.example/{number}"
            yield found[0]._replace(url=url, text="\n".join(lines))


def line_of(parts: list[str], drawn: random.Random, between: str) -> str:
    """Returns a line that ends as a sentence does."""
    line = ""
    while len(line) < CHARACTERS:
        line += drawn.choice(parts) + between
    return f"{line.strip()}."
