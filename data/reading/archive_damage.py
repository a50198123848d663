"""Where reading resumes in a web archive after damage, and which records are lost.

A record begins at a gzip member, or at a header line of a plain file; reading can resume only
there. A file that is a single gzip member has no such place, so everything after its first broken
byte is one loss. Members are decompressed in parts and only their headers are kept, so memory does
not depend on their size.

Offsets are bytes of the file on disk.
"""

import mmap
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from data.reading.page import BrokenRecord

GZIP = b"\x1f\x8b\x08"
RECORD = re.compile(rb"WARC/1\.\d\r?\n")
POSSIBLE_START = re.compile(rb"\x1f\x8b\x08|(?<=\n)WARC/1\.\d\r?\n")
PART_BYTES = 1 << 16
LONGEST_HEADERS_BYTES = 1 << 16


class Extent(NamedTuple):
    """Offset of a record, and the Content-Length that it declares."""

    offset: int
    content_length: int


def after_damage(
    path: Path, start: int, last: Extent | None, detail: str
) -> tuple[list[BrokenRecord], int | None]:
    """Returns what is lost after the last good record, and the offset where reading resumes.

    Damage inside the next record is not counted here: reading resumes at that record, fails at
    once, and the loss is counted under its own offset.
    """
    if last is None:
        return [BrokenRecord.at(path, start, "unreadable", detail)], next_start(path, start + 1)
    with _mapped(path) as archive:
        end, surplus = _end_of_record(archive, last)
        resumes = _begins_record(archive, end)
    if surplus:  # its Content-Length is too small: the page was kept, but truncated
        broken = [BrokenRecord.at(path, last.offset, "longer_than_declared", detail)]
    else:
        broken = [] if resumes else [BrokenRecord.at(path, end, "unreadable", detail)]
    return broken, end if resumes else next_start(path, end + 1)


def after_silent_end(
    path: Path, start: int, last: Extent | None
) -> tuple[list[BrokenRecord], int | None]:
    """Returns what follows the last record before FastWARC stopped without an error.

    FastWARC does so where a file is truncated inside a record's headers, and at an empty gzip
    member.
    """
    size = path.stat().st_size
    if last is not None:
        with _mapped(path) as archive:
            start = _end_of_record(archive, last)[0]
            size = start + len(archive[start:].strip())
    if start >= size:
        return [], None
    return [BrokenRecord.at(path, start, "truncated")], next_start(path, start + 1)


def _end_of_record(archive: mmap.mmap, record: Extent) -> tuple[int, bool]:
    """Returns the offset of the record's end, and whether its gzip member holds more content."""
    if archive[record.offset : record.offset + 3] == GZIP:
        return _end_of_member(archive, record)
    if RECORD.match(archive, record.offset):
        headers = _end_of_headers(archive[record.offset : record.offset + LONGEST_HEADERS_BYTES])
        return record.offset + headers + record.content_length + len(b"\r\n\r\n"), False
    return len(archive), False  # inside a gzip member of many records: the rest is lost


def _end_of_member(archive: mmap.mmap, record: Extent) -> tuple[int, bool]:
    member, position, seen, surplus = zlib.decompressobj(wbits=31), record.offset, 0, False
    declared_end, compressed = LONGEST_HEADERS_BYTES, b""
    while not member.eof and (compressed or position < len(archive)):
        if not compressed:
            compressed = archive[position : position + PART_BYTES]
            position += len(compressed)
        content = member.decompress(compressed, PART_BYTES)
        compressed = member.unconsumed_tail
        if seen == 0:
            declared_end = _end_of_headers(content) + record.content_length
        surplus = surplus or bool(content[max(0, declared_end - seen) :].strip())
        seen += len(content)
    return position - len(member.unused_data), surplus


def _end_of_headers(record: bytes) -> int:
    blank_line = re.search(rb"\r?\n\r?\n", record)
    return blank_line.end() if blank_line else 0


def next_start(path: Path, after: int) -> int | None:
    """Returns the first offset at or after `after` where a record begins."""
    with _mapped(path) as archive:
        while found := POSSIBLE_START.search(archive, after):
            if _begins_record(archive, found.start()):
                return found.start()
            after = found.start() + 1
    return None


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
