"""Web pages by the gigabyte: copies of real ones with their own addresses and lines.

Each line of a copy begins with one character that is not seen (a tag, U+E0020 and on). It is not
white space, so that equal lines of two copies differ; and it is in no word and at no line's end,
where rules look. Of 180 pages, each with and without it, `mswitch-web` decides all the same, and
`mc4` all but one language. Words are the same, so near-duplicates are found. The vocabulary does
not grow as the web's. One copy is 19.6 MB of text without the marks.
"""

import re
from pathlib import Path

from data.demo import member_of
from data.reading.page import Page
from data.reading.web_archive import read

WEB = Path(__file__).parents[2].parent / "shared/data/web"
TEXT_BYTES_A_COPY = 19_600_000
FIRST_TAG, TAGS = 0xE0020, 95


def grow(copies: int, directory: Path) -> list[Path]:
    """Writes copies of the web pages, one WET file per copy; returns the files."""
    assert copies <= TAGS
    pages = [
        one
        for file in sorted(WEB.glob("*.warc.wet.gz"))
        for one in read(file)
        if isinstance(one, Page)
    ]
    paths = [directory / f"copy-{copy:03d}.warc.wet.gz" for copy in range(copies)]
    for copy, path in enumerate(paths):
        path.write_bytes(b"".join(member_of(copied(page, copy)) for page in pages))
    return paths


def copied(page: Page, copy: int) -> Page:
    """Returns a page whose address and lines are no other copy's."""
    text = re.sub("^(?=.)", chr(FIRST_TAG + copy), page.text, flags=re.MULTILINE)
    return page._replace(url=f"{page.url}?copy={copy}", text=text)
