"""Web pages by the gigabyte: copies of real ones with their own addresses, lines and word order.

In each line of a copy the first two characters are ones that are not seen (tags, U+E0020 and on),
before a short line two more. They are not white space, so that equal lines of two copies differ,
and not at the line's end, where rules look; lines of which rules count the characters keep their
length. The words of a line, but the last, are put into another order, in blocks of
eight, the same one for all lines of a copy: two copies of a page have few shingles in common, and
what repeats in a page or on two pages of a copy still does. Where spaces do not separate words,
three characters count as one word.

The real pages, of documentation, have few near-duplicates. In a large input, whose pages are spread
over fewer files, a fifth of the pages has the text of the copy before, as if a fifth of a crawl
stood at other addresses too. It is an assumption.

`large.py` counts the pages that the rules decide as they decide the real ones. The vocabulary does
not grow as the web's. One copy is 19.6 MB of text without the marks.
"""

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from data.demo import member_of
from data.reading.page import Page
from data.reading.web_archive import read

WEB = Path(__file__).parents[2].parent / "shared/data/web"
WARM_PAGES = 50  # the first ones, of which each rule set keeps some: imports and models
TEXT_BYTES_A_COPY = 19_600_000
FIRST_TAG, TAGS = 0xE0020, 95
REPEATED = 5  # pages of which one has another's text, in a large input
BLOCK = 8  # words that change places
LONG_WORDS = 16  # characters per word from which on spaces do not separate words
UNIT = 3  # characters, where they do not
SHORT_LINE = 8  # characters up to which a line keeps them all beside its mark
UNMOVED = [list(range(length)) for length in range(BLOCK + 1)]  # leaves words where they are


def grow(copies: int, directory: Path, *, files: int = 0, repeated: int = REPEATED) -> list[Path]:
    """Writes copies of the web pages as WET files and returns these.

    Args:
        copies: number of copies.
        directory: where the files go.
        files: their number, over which the pages of each copy are spread; a file per copy if 0.
        repeated: pages of which one has another's text, in a large input.
    """
    files = files or copies
    paths = [directory / f"copy-{number:03d}.warc.wet.gz" for number in range(files)]
    pages, orders, large = real_pages(), list(map(orders_of, range(copies))), files < copies
    with ExitStack() as opened:
        written = [opened.enter_context(path.open("wb")) for path in paths]
        for number, page in enumerate(pages):
            for copy in range(copies):
                another = large and copy > 0 and (copy + number) % repeated == 0
                text_of = copy - 1 if another else copy
                grown = copied(page, text_of, orders[text_of])
                grown = grown._replace(url=f"{page.url}?copy={copy}")
                written[(copy + number * large) % files].write(member_of(grown))
    return paths


def few(directory: Path) -> Path:
    """Writes a file of the first pages, as they are, to warm up with, and returns it."""
    path = directory / "few.warc.wet.gz"
    path.write_bytes(b"".join(map(member_of, real_pages()[:WARM_PAGES])))
    return path


def real_pages() -> list[Page]:
    """Returns the pages that are copied."""
    files = sorted(WEB.glob("*.warc.wet.gz"))
    return [page for file in files for page in read(file) if isinstance(page, Page)]


def orders_of(copy: int) -> list[list[int]]:
    """Returns the order of a copy's words, by the length of a block."""
    drawn = random.Random(copy)
    return [drawn.sample(range(length), length) for length in range(BLOCK + 1)]


def copied(page: Page, copy: int, orders: Sequence[Sequence[int]]) -> Page:
    """Returns a page whose address and lines are no other copy's."""
    mark = chr(FIRST_TAG + copy // TAGS) + chr(FIRST_TAG + copy % TAGS)
    lines = [marked(mark, reordered(line, orders)) for line in page.text.split("\n")]
    return at_address(page._replace(text="\n".join(lines)), copy)


def at_address(page: Page, copy: int) -> Page:
    """Returns a page at the address that its copy has."""
    return page._replace(url=f"{page.url}?copy={copy}")


def marked(mark: str, line: str) -> str:
    """Returns a line with a mark of two characters, as long as before unless it is short."""
    if not line:
        return ""
    return mark + (line if len(line) <= SHORT_LINE else line[len(mark) :])


def reordered(line: str, orders: Sequence[Sequence[int]]) -> str:
    """Returns a line with its words, but the last and what is left of a block, in another order."""
    words, space = line.split(" "), " "
    if len(line) > LONG_WORDS * len(words):
        words, space = [line[at : at + UNIT] for at in range(0, len(line), UNIT)], ""
    block = min(BLOCK, len(words) - 1)
    if block < 2:
        return line
    whole = (len(words) - 1) // block * block
    moved = words[:whole]
    for to, place in enumerate(orders[block]):
        moved[to::block] = words[place:whole:block]
    return space.join(moved + words[whole:])
