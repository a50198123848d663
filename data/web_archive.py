"""Reads WET files, the extracted text of a web crawl, and survives what is broken in them.

A record is read by FastWARC (229 MB/s; the reference's line scanner 6.6 to 9.9) and its text is
what the reference makes of it: lines stripped, blank lines dropped, lines that look like archive
headers dropped (C4, `split_wet_file` in TensorFlow Datasets). The reference dies of one bad byte;
here every loss is one `BrokenRecord` with its offset, and reading goes on at the next place where a
record begins: the next gzip member, or the next header line of a plain file. A file that is one
single gzip member has no such place, so all that follows its first broken byte is one loss.

Offsets are bytes in the file as it lies on disk.
"""

import mmap
import re
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data.languages import declared
from data.page import BrokenRecord, Page

SUFFIXES = (".wet", ".wet.gz")

GZIP = b"\x1f\x8b\x08"
RECORD = re.compile(rb"WARC/1\.\d\r?\n")
POSSIBLE_START = re.compile(rb"\x1f\x8b\x08|(?<=\n)WARC/1\.\d\r?\n")
ANOTHER_RECORD = re.compile(rb"(?:^|\n)WARC/1\.0\r?\n")
HEADER_PREFIXES = ("WARC", "CONTENT-", "Content-")


class _Extent(NamedTuple):
    offset: int
    content_length: int


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields every record of a WET file: a page, or what is broken about it."""
    start: int | None = 0
    while start is not None:
        start = yield from _read_until_broken(path, start)


def text_of(content: str) -> str:
    """Returns the page's text as the reference sees it.

    Any of the three line ends ends a line; a line that begins like an archive header goes.
    """
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    stripped = (line.strip() for line in lines)
    return "\n".join(line for line in stripped if line and not line.startswith(HEADER_PREFIXES))


def _read_until_broken(path: Path, start: int) -> Generator[Page | BrokenRecord, None, int | None]:
    """Yields records from `start` on; returns where to go on after damage, None at the end."""
    last: _Extent | None = None
    with path.open("rb") as file:
        file.seek(start)
        try:
            for record in ArchiveIterator(file, parse_http=False):
                extent = _Extent(record.stream_pos, record.content_length)
                body = record.reader.read()
                damage = _damage(record, body)
                if damage is not None:
                    yield BrokenRecord.at(path, extent.offset, damage)
                    return _next_start(path, extent.offset + 1)
                if record.record_type != WarcRecordType.warcinfo:
                    yield _page(path, extent.offset, record, body)
                last = extent
        except OSError as error:
            broken, start_again = _after_damage(path, start, last, str(error))
            yield from broken
            return start_again
    yield from _cut_before_its_body(path, start, last)
    return None


def _damage(record: WarcRecord, body: bytes) -> str | None:
    if record.headers.get("Content-Length") is None:
        return "no_content_length"
    if len(body) < record.content_length:
        return "truncated"
    if ANOTHER_RECORD.search(body):
        return "holds_another_record"  # its Content-Length is too large
    return None


def _page(path: Path, offset: int, record: WarcRecord, body: bytes) -> Page | BrokenRecord:
    url = record.headers.get("WARC-Target-URI")
    timestamp = record.headers.get("WARC-Date")
    if record.record_type != WarcRecordType.conversion:
        return BrokenRecord.at(path, offset, "not_a_conversion", str(record.record_type))
    if not url:
        return BrokenRecord.at(path, offset, "no_url")
    if not timestamp:
        return BrokenRecord.at(path, offset, "no_timestamp", url)
    try:
        text = text_of(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BrokenRecord.at(path, offset, "invalid_utf8", f"{url}: {error}")
    if not text:
        return BrokenRecord.at(path, offset, "no_text", url)
    language = declared(record.headers.get("WARC-Identified-Content-Language"))
    return Page(url=url, text=text, timestamp=timestamp, declared_language=language)


def _after_damage(
    path: Path, start: int, last: _Extent | None, detail: str
) -> tuple[list[BrokenRecord], int | None]:
    """Returns what was lost after the last good record, and where to go on.

    Damage inside the next record is not counted here: reading goes on at that record, fails there
    at once, and the loss is counted under its own offset.
    """
    if last is None:
        return [BrokenRecord.at(path, start, "unreadable", detail)], _next_start(path, start + 1)
    with _mapped(path) as archive:
        end, surplus = _end_of_record(archive, last)
        goes_on = _begins_record(archive, end)
    if surplus:  # its Content-Length is too small: the page was kept, but cut
        broken = [BrokenRecord.at(path, last.offset, "longer_than_declared", detail)]
    else:
        broken = [] if goes_on else [BrokenRecord.at(path, end, "unreadable", detail)]
    return broken, end if goes_on else _next_start(path, end + 1)


def _cut_before_its_body(path: Path, start: int, last: _Extent | None) -> Iterator[BrokenRecord]:
    """Yields the record, if any, of which a file was cut so early that FastWARC saw none."""
    size = path.stat().st_size
    if last is not None:
        with _mapped(path) as archive:
            start = _end_of_record(archive, last)[0]
            size = start + len(archive[start:].strip())
    if start < size:
        yield BrokenRecord.at(path, start, "truncated")


def _end_of_record(archive: mmap.mmap, record: _Extent) -> tuple[int, bool]:
    """Returns where the record's bytes end, and whether its gzip member holds more than it says."""
    if archive[record.offset : record.offset + 3] == GZIP:
        member = zlib.decompressobj(wbits=31)
        content = member.decompress(archive[record.offset :])
        declared_end = _end_of_headers(content) + record.content_length
        return len(archive) - len(member.unused_data), bool(content[declared_end:].strip())
    if RECORD.match(archive, record.offset):
        headers = _end_of_headers(archive[record.offset :])
        return record.offset + headers + record.content_length + len(b"\r\n\r\n"), False
    return len(archive), False  # inside a gzip member of many records: the rest is lost


def _end_of_headers(record: bytes) -> int:
    blank_line = re.search(rb"\r?\n\r?\n", record)
    return blank_line.end() if blank_line else 0


def _next_start(path: Path, after: int) -> int | None:
    """Returns the first offset from `after` on where a record begins."""
    with _mapped(path) as archive:
        while possible := _search(archive, after):
            if _begins_record(archive, possible):
                return possible
            after = possible + 1
    return None


def _search(archive: mmap.mmap, after: int) -> int | None:
    found = POSSIBLE_START.search(archive, after)
    return found.start() if found else None


def _begins_record(archive: mmap.mmap, offset: int) -> bool:
    head = archive[offset : offset + 512]
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 16)
        except zlib.error:
            return False
    return RECORD.match(head) is not None


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
