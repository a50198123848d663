"""Reads web archives, text (WET) or HTML (WARC), and continues after damage.

FastWARC parses the records (229 MB/s; the reference's line scanner 6.6 to 9.9). The text of a WET
record is the reference's: lines are stripped, blank lines and lines that look like archive headers
are dropped (C4, `split_wet_file` in TensorFlow Datasets). Pages of a WARC file are its responses;
requests, metadata and revisits are skipped. The reference crashes on one bad byte. Here every loss
is one `BrokenRecord` with its offset, and reading resumes where `archive_damage` finds the next
record. A record that declares more bytes than a page can have is not read into memory.
"""

import re
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data.errors import is_system_error
from data.languages import declared
from data.reading import html_text
from data.reading.archive_damage import GZIP, Extent, after_damage, after_silent_end, next_start
from data.reading.page import BrokenRecord, Page

SUFFIXES = (".wet", ".wet.gz")
HTML_SUFFIXES = (".warc", ".warc.gz")

LARGEST_RECORD_BYTES = 32 << 20  # 190,000 characters are at most 0.8 MB of text
LARGEST_HTML_BYTES = (
    5 << 20
)  # where Common Crawl truncates pages; a parsed page takes 80 times as much
ANOTHER_RECORD = re.compile(rb"(?:^|\n)WARC/1\.0\r?\n")
HEADER_PREFIXES = ("WARC", "CONTENT-", "Content-")
HTML_TYPES = ("text/html", "application/xhtml+xml")


class Damage(NamedTuple):
    """The record's framing is wrong: the start of the next record must be searched for."""

    reason: str


class Loss(NamedTuple):
    """The record is whole, but not a page."""

    reason: str
    detail: str = ""


RecordReader = Callable[[WarcRecord], Page | Loss | Damage | None]


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields the pages and broken records of a WET file."""
    return _read(path, _text_page)


def read_html(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields the responses of a WARC file, as pages with extracted text or as broken records."""
    return _read(path, _html_page)


def text_of(content: str) -> str:
    """Returns the page's text as the reference extracts it.

    All three line endings end a line; lines that begin like an archive header are dropped.
    """
    if "\r" in content:
        content = content.replace("\r\n", "\n").replace("\r", "\n")
    stripped = map(str.strip, content.split("\n"))
    return "\n".join([line for line in stripped if line and not line.startswith(HEADER_PREFIXES)])


def _read(path: Path, read_record: RecordReader) -> Iterator[Page | BrokenRecord]:
    start: int | None = 0
    while start is not None:
        start = yield from _read_until_broken(path, start, read_record)


def _read_until_broken(
    path: Path, start: int, read_record: RecordReader
) -> Generator[Page | BrokenRecord, None, int | None]:
    """Yields records from `start` on; returns where to resume after damage, None at the end."""
    last: Extent | None = None
    with path.open("rb") as file:
        file.seek(start)
        try:
            for record in ArchiveIterator(file, parse_http=False):
                extent = Extent(record.stream_pos, record.content_length)
                found = _damage(record) or read_record(record)
                if isinstance(found, Damage):
                    yield BrokenRecord.at(path, extent.offset, found.reason)
                    return next_start(path, extent.offset + 1)
                if isinstance(found, Page):
                    yield found
                elif found is not None:
                    yield BrokenRecord.at(path, extent.offset, *found)
                last = extent
        except OSError as error:
            if is_system_error(error):
                raise
            broken, start_again = after_damage(path, start, last, str(error))
            yield from broken
            return start_again
    broken, start_again = after_silent_end(path, start, last)
    yield from broken
    return start_again


def _damage(record: WarcRecord) -> Damage | None:
    """Returns what is wrong with the record's framing; reads a sound record into memory."""
    length = record.content_length
    if record.headers.get("Content-Length") is None:
        return Damage("no_content_length")
    if length > LARGEST_RECORD_BYTES:
        return Damage("too_large")
    record.freeze()
    return Damage("truncated") if record.content_length < length else None


def _holds_another_record(body: bytes) -> bool:
    # The plain search is 30 times as fast and excludes nearly every page.
    return b"WARC/1.0" in body and ANOTHER_RECORD.search(body) is not None


def _text_page(record: WarcRecord) -> Page | Loss | Damage | None:
    body = record.reader.read()
    if _holds_another_record(body):
        return Damage("holds_another_record")  # its Content-Length is too large
    if record.record_type == WarcRecordType.warcinfo:
        return None
    if record.record_type != WarcRecordType.conversion:
        return Loss("not_a_conversion", str(record.record_type))
    try:
        return _page(record, lambda: text_of(body.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Loss("invalid_utf8", f"{record.headers.get('WARC-Target-URI')}: {error}")


def _html_page(record: WarcRecord) -> Page | Loss | Damage | None:
    if record.record_type != WarcRecordType.response:
        return None
    if not record.is_http:
        return Loss("not_html", str(record.headers.get("WARC-Target-URI")))
    record.parse_http(auto_decode="transfer")
    if record.http_content_type not in HTML_TYPES:
        return Loss("not_html", str(record.http_content_type))
    if record.http_headers is None or record.http_headers.status_code != 200:
        return Loss("not_found", str(record.headers.get("WARC-Target-URI")))
    encoding = record.http_headers.get("Content-Encoding") or ""
    html = _decoded(record.reader.read(), encoding.strip().lower())
    if html is None:
        return Loss("unknown_encoding", encoding)
    if len(html) > LARGEST_HTML_BYTES:
        return Loss("too_large", str(record.headers.get("WARC-Target-URI")))
    if _holds_another_record(html):
        return Damage("holds_another_record")
    return _page(record, lambda: html_text.text_of(html, record.http_charset))


def _decoded(content: bytes, encoding: str) -> bytes | None:
    """Returns the decompressed content, up to just over the longest page, or None if unknown.

    Many archives keep the header but store the uncompressed page, so content without gzip's first
    bytes is returned unchanged.
    """
    if content.startswith(GZIP):
        try:
            return zlib.decompressobj(wbits=31).decompress(content, LARGEST_HTML_BYTES + 1)
        except zlib.error:
            return None
    return content if encoding in ("", "gzip", "identity") or content[:99].isascii() else None


def _page(record: WarcRecord, text_of_body: Callable[[], str]) -> Page | Loss:
    url = record.headers.get("WARC-Target-URI")
    timestamp = record.headers.get("WARC-Date")
    if not url:
        return Loss("no_url")
    if not timestamp:
        return Loss("no_timestamp", url)
    text = text_of_body()
    if not text:
        return Loss("no_text", url)
    language = declared(record.headers.get("WARC-Identified-Content-Language"))
    return Page(url=url, text=text, timestamp=timestamp, declared_language=language)
