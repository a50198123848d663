"""Records of a web archive by ISO 28500 (WARC 1.x): a version line, named fields, a blank line, and
as many bytes as Content-Length declares.

Field names are case-insensitive, addresses may stand in angle brackets (1.0), and lines may end in
LF alone. What a record declares as its own is never searched for other records: its writer
chose the length, but strangers wrote the bytes. So a record of unknown length loses the rest of its
gzip member, or of a plain file, as one broken record.

A record is yielded after its end has been checked: in a member of one record that is the checksum.
If such a member ends where the declared length and two line ends do, length and member agree: the
record is whole whatever its body holds, another record's lines included.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastwarc.warc import HeaderMap

from data.reading.archive_sections import (
    NO_RECORD,
    PART_BYTES,
    RECORD,
    DamagedMember,
    Section,
    sections,
)
from data.reading.page import BrokenRecord

LARGEST_RECORD_BYTES = 32 << 20  # 190,000 characters are at most 0.8 MB of text
LONGEST_HEADERS_BYTES = 32 << 10
TWO_ENDS = (b"\r\n\r\n", b"\n\n")
LONGEST_ENDS = 5  # one more than the longest


class ArchiveRecord(NamedTuple):
    """A whole record.

    Attributes:
        offset: offset of the record, or of the gzip member that holds it.
        headers: its named fields; the names are case-insensitive.
        body: its content.
        fills_member: whether its gzip member holds it, two line ends and nothing else.
    """

    offset: int
    headers: HeaderMap
    body: bytes
    fills_member: bool = False

    @property
    def kind(self) -> str:
        """WARC-Type, in small letters."""
        return (self.headers.get("WARC-Type") or "").strip().lower()

    @property
    def url(self) -> str:
        """WARC-Target-URI without the brackets that WARC 1.0 allows; "" if absent."""
        url = (self.headers.get("WARC-Target-URI") or "").strip()
        return url[1:-1].strip() if url.startswith("<") and url.endswith(">") else url


def read(path: Path) -> Iterator[ArchiveRecord | BrokenRecord]:
    """Yields the records of a file, gzipped or plain, and what is lost between them."""
    for section in sections(path):
        if isinstance(section, BrokenRecord):
            yield section
        else:
            yield from _records(path, section)


def _records(path: Path, section: Section) -> Iterator[ArchiveRecord | BrokenRecord]:
    offset, is_first = section.offset, section.is_member
    try:
        _, line = _next_line(section.content)
        while line:
            if not section.is_member:
                offset = section.content.tell() - len(line)
            if not RECORD.fullmatch(line):
                yield BrokenRecord.at(path, offset, "unreadable", NO_RECORD)
                line, is_first = _next_record(section), False
                continue
            found = _record(section.content, offset, line)
            if isinstance(found, str):
                yield BrokenRecord.at(path, offset, found)
                if found != "too_large":
                    return
            blanks, line = _next_line(section.content)  # checks the end before the record is used
            if isinstance(found, ArchiveRecord):
                yield found._replace(fills_member=is_first and not line and blanks in TWO_ENDS)
            is_first = False
            if line and section.is_member and not RECORD.fullmatch(line):
                yield BrokenRecord.at(path, offset, "longer_than_declared")
                return
    except DamagedMember as damage:
        yield BrokenRecord.at(path, offset, damage.reason, damage.detail)


def _record(content: io.BufferedReader, offset: int, version: bytes) -> ArchiveRecord | str:
    """Returns the record that begins with this line, or the reason why it is broken."""
    block = _header_block(content, version)
    if block is None:
        return "unreadable"
    if not block:
        return "truncated"
    headers = HeaderMap("utf-8")
    headers.parse(io.BytesIO(block))
    length = _length(headers)
    if length is None:
        return "no_content_length"
    if length > LARGEST_RECORD_BYTES:
        _skip(content, length)
        return "too_large"
    body = content.read(length)
    return ArchiveRecord(offset, headers, body) if len(body) == length else "truncated"


def _header_block(content: io.BufferedReader, version: bytes) -> bytes | None:
    """Returns the lines up to the first blank one, with CR LF; b"" at the end, None if too long."""
    lines, size = [version], len(version)
    while line := content.readline(LONGEST_HEADERS_BYTES):
        lines.append(line)
        size += len(line) + 1  # the CR that may be missing
        if size > LONGEST_HEADERS_BYTES:
            return None
        if line == b"\r\n":
            return b"".join(lines)
        if line == b"\n":
            return b"".join(one.rstrip(b"\r\n") + b"\r\n" for one in lines)
    return b""


def _length(headers: HeaderMap) -> int | None:
    """Returns the declared length; None if it is missing, no number, or declared in two ways."""
    declared = {value.strip() for value in headers.get_multiple("Content-Length")}
    length = declared.pop() if len(declared) == 1 else ""
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _next_line(content: io.BufferedReader) -> tuple[bytes, bytes]:
    """Returns the first blanks, and the beginning of the line behind all; b"" at the end."""
    blanks = b""
    while part := content.peek():
        text = part.lstrip()
        blanks += content.read(len(part) - len(text))[: LONGEST_ENDS - len(blanks)]
        if text:
            return blanks, content.readline(LONGEST_HEADERS_BYTES)
    return blanks, b""


def _next_record(section: Section) -> bytes:
    """Returns the next line of a plain file that begins a record; b"" at the end of a section."""
    if section.is_member:
        return b""
    while line := section.content.readline(LONGEST_HEADERS_BYTES):
        if RECORD.fullmatch(line):
            return line
    return b""


def _skip(content: io.BufferedReader, length: int) -> None:
    while length > 0 and (part := content.read(min(length, PART_BYTES))):
        length -= len(part)
