"""Writes the demo's web archives: WET files as they come from a crawl, damage included.

The pages are text that installed packages ship (`shipped_text`). Among them is the damage of every
crawl: a body that is not UTF-8, a record without an address, bytes between records, a file that
ends in the middle of a record, an address fetched twice, a page with the text of another one, and a
page of two letters. The same pages give the same bytes.
"""

import io
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from warcio.warcwriter import WARCWriter

from data.demo.shipped_text import shipped_pages
from data.languages import get
from data.reading.page import Page
from data.stores.atomic import atomic_write

FILES = 5
EARLIER = "2025-06-01T00:00:00Z"
RECORD_NAMES = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122, addresses
GARBAGE = b"\x00\x01 bytes that a failing disk left between two records \xff\xfe\n" * 7


def write(directory: Path, pages: Iterable[Page] | None = None) -> list[Path]:
    """Writes the archive and returns its files.

    Args:
        directory: output directory, created if absent.
        pages: pages to write; None for all that installed packages ship.
    """
    directory.mkdir(parents=True, exist_ok=True)
    whole = list(shipped_pages() if pages is None else pages)
    paths = [directory / f"demo-{number:05d}.warc.wet.gz" for number in range(FILES)]
    for number, path in enumerate(paths):
        members = [member_of(page) for page in whole[number::FILES]]
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(b"".join(_with_damage(number, members, whole)))
    return paths


def member_of(page: Page) -> bytes:
    """Returns a page as one WET record, a gzip member of its own."""
    return _member(page, page.text.encode("utf-8"))


def _member(page: Page, body: bytes) -> bytes:
    record_id = f"<urn:uuid:{uuid.uuid5(RECORD_NAMES, page.url + page.timestamp)}>"
    headers = {
        "WARC-Type": "conversion",
        "WARC-Target-URI": page.url,
        "WARC-Date": page.timestamp,
        "WARC-Record-ID": record_id,
        "Content-Type": "text/plain",
    }
    if page.declared_language is not None:
        identified = get(page.declared_language).iso639_3 or page.declared_language
        headers["WARC-Identified-Content-Language"] = identified
    if not page.url:
        del headers["WARC-Target-URI"]
    content = io.BytesIO()
    writer = WARCWriter(content, gzip=True)
    record = writer.create_warc_record(
        page.url, "conversion", io.BytesIO(body), len(body), "text/plain", headers
    )
    writer.write_record(record)
    return content.getvalue()


def _with_damage(number: int, members: list[bytes], whole: list[Page]) -> Iterator[bytes]:
    """Yields the records of one file, with its kind of damage in the middle."""
    middle = len(members) // 2
    yield from members[:middle]
    yield from _damage(number, whole[0])
    yield from members[middle:]
    if number == 3:
        long_text = "\n".join(page.text for page in whole[:50])
        cut = whole[0]._replace(url="https://crawl.example/cut", text=long_text)
        yield member_of(cut)[:-60]  # inside its text


def _damage(number: int, page: Page) -> Iterator[bytes]:
    if number == 0:
        invalid = page._replace(url="https://crawl.example/invalid")
        yield _member(invalid, b"\xff\xfe" + page.text.encode("utf-16-le"))
    elif number == 1:
        yield _member(page._replace(url=""), page.text.encode("utf-8"))
    elif number == 2:
        yield GARBAGE
    elif number == 4:
        yield member_of(page._replace(timestamp=EARLIER))
        yield member_of(page._replace(url="https://crawl.example/mirror"))
        yield member_of(page._replace(url="https://crawl.example/short", text="OK"))
