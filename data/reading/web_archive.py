"""Reads web archives, text (WET) or HTML (WARC), and continues after damage.

`archive_records` cuts the records. The text of a WET record is the reference's: lines are stripped,
blank lines and lines that look like archive headers are dropped (C4, `split_wet_file` in TensorFlow
Datasets). Pages of a WARC file are its responses; requests, metadata and revisits are skipped. The
reference crashes on one bad byte. Here every loss is one `BrokenRecord` with its offset. A record
that declares more bytes than a page can have is not read into memory.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data.languages import declared
from data.reading import archive_records, html_text
from data.reading.archive_records import ArchiveRecord
from data.reading.http_response import html_of
from data.reading.markup_limits import is_too_complex
from data.reading.page import BrokenRecord, Defect, Page
from data.reading.timestamps import is_timestamp

SUFFIXES = (".wet", ".wet.gz")
HTML_SUFFIXES = (".warc", ".warc.gz")

ANOTHER_RECORD = re.compile(rb"(?:^|\n)WARC/1\.\d+\r?\n")
HEADER_PREFIXES = ("WARC", "CONTENT-", "Content-")
HTTP = "application/http"


RecordReader = Callable[[ArchiveRecord], Page | Defect | None]


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
    for record in archive_records.read(path):
        found = record if isinstance(record, BrokenRecord) else _found(record, read_record)
        if isinstance(found, Defect):
            yield BrokenRecord.at(path, record.offset, *found)
        elif found is not None:
            yield found


def _found(record: ArchiveRecord, read_record: RecordReader) -> Page | Defect | None:
    try:
        return read_record(record)
    except BaseException as error:
        return Defect.of(error)


def _may_hold_another(record: ArchiveRecord, body: bytes) -> bool:
    """Returns whether a body may be two pages, joined by a Content-Length that is too large."""
    if record.fills_member or b"WARC/1." not in body:  # 30 times as fast, and true of most pages
        return False
    return ANOTHER_RECORD.search(body) is not None


def _text_page(record: ArchiveRecord) -> Page | Defect | None:
    if _may_hold_another(record, record.body):
        return Defect("holds_another_record", record.url)
    if record.kind == "warcinfo":
        return None
    if record.kind != "conversion":
        return Defect("not_a_conversion", record.kind)
    try:
        return _page(record, lambda: text_of(record.body.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Defect("invalid_utf8", f"{record.url}: {error}")


def _html_page(record: ArchiveRecord) -> Page | Defect | None:
    if record.kind != "response":
        return None
    if not (record.headers.get("Content-Type") or "").strip().lower().startswith(HTTP):
        return Defect("not_html", record.url)
    found = html_of(record.body)
    if isinstance(found, Defect):
        return found._replace(detail=found.detail or record.url)
    if _may_hold_another(record, found.content):
        return Defect("holds_another_record", record.url)
    if is_too_complex(found.content):
        return Defect("too_complex", record.url)
    return _page(record, lambda: html_text.text_of(found.content, found.charset))


def _page(record: ArchiveRecord, text_of_body: Callable[[], str]) -> Page | Defect:
    timestamp = record.headers.get("WARC-Date") or ""
    if not record.url:
        return Defect("no_url")
    if not timestamp:
        return Defect("no_timestamp", record.url)
    if not is_timestamp(timestamp):
        return Defect("invalid_timestamp", record.url)
    text = text_of_body()
    if not text:
        return Defect("no_text", record.url)
    language = declared(record.headers.get("WARC-Identified-Content-Language"))
    return Page(url=record.url, text=text, timestamp=timestamp, declared_language=language)
