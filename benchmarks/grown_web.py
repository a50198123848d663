"""Web pages by the gigabyte: copies of real ones that no deduplication takes for copies.

Each copy has its own address and one more word per line. So lines, addresses, languages and lengths
are as in a crawl, and only the vocabulary does not grow as the web's. One copy is 19.6 MB of text.
"""

import re
from pathlib import Path

from data.demo.archive import member_of
from data.reading.page import Page
from data.reading.web_archive import read

WEB = Path(__file__).parents[1].parent / "shared/data/web"
TEXT_BYTES_A_COPY = 19_600_000


def grow(copies: int, directory: Path) -> list[Path]:
    """Writes copies of the web pages, one WET file per copy; returns the files."""
    pages = [
        one
        for file in sorted(WEB.glob("*.warc.wet.gz"))
        for one in read(file)
        if isinstance(one, Page)
    ]
    paths = [directory / f"copy-{copy:03d}.warc.wet.gz" for copy in range(copies)]
    for copy, path in enumerate(paths):
        changed = (
            page._replace(
                url=f"{page.url}?copy={copy}", text=re.sub("$", f" {copy}", page.text, flags=re.M)
            )
            for page in pages
        )
        path.write_bytes(b"".join(map(member_of, changed)))
    return paths
