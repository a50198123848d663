"""Web archives, text (WET) or HTML (WARC): gzip members, cut into records, which become pages.

Reading goes on after damage: the reference (C4, `split_wet_file` in TensorFlow Datasets) crashes on
one bad byte, and here every loss is one `BrokenRecord` with its offset.

**Members.** A record lies within one section (ISO 28500, annex D: each record is a gzip member of
its own). A gzip member inside a whole member, stored there without compression, is never a section.
Files are read, never mapped, so a file that another process cuts short ends the section and not
this process.

If a member was cut short, decompression runs into the next one and fails there. Reading then goes
back to the first member that begins after the start of the damaged one, so that its neighbour is
not lost. In all, at most as many bytes are reread as precede the damage; beyond that limit, reading
resumes at the byte that failed. If only the checksum or the length is wrong, reading resumes after
the member, or at another one that begins in its last bytes and is too long to lie within it.

Each byte of a file is read a bounded number of times, and decompressed content is held in parts of
32 KiB. Offsets are bytes of the file on disk.

**Records** (ISO 28500). Field names are case-insensitive, addresses may stand in angle brackets
(1.0), and lines may end in LF alone. What a record declares as its own is never searched for other
records: its writer chose the length, but strangers wrote the bytes. So a record of unknown length
loses the rest of its gzip member, or of a plain file, as one broken record. A record that declares
more bytes than a page can have is not read into memory.

A record is yielded after its end has been checked: in a member of one record that is the checksum.
If such a member ends where the declared length and two line ends do, length and member agree: the
record is whole whatever its body holds, another record's lines included.

**Pages.** The text of a WET record is the reference's: lines are stripped, blank lines and lines
that look like archive headers are dropped. Pages of a WARC file are its responses; requests,
metadata and revisits are skipped.
"""

import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastwarc.warc import HeaderMap

from data.languages import declared_language, unlisted_declaration
from data.reading import html
from data.reading.html import html_of, is_too_complex
from data.reading.page import BrokenRecord, Defect, Page, cut_to_nothing, is_timestamp

GZIP = b"\x1f\x8b\x08"
RECORD = re.compile(rb"WARC/(?:1\.\d+|0\.1[78])\r?\n")
# RFC 1952: no reserved flag is set, and the two bytes after the time have few values.
MEMBER = rb"\x1f\x8b\x08[\x00-\x1f](?=.{4}[\x00\x02\x04][\x00-\x0d\xff])"
MEMBER_START = re.compile(MEMBER, re.DOTALL)
ANY_START = re.compile(MEMBER + rb"|(?<=\n)" + RECORD.pattern, re.DOTALL)
NO_RECORD = "no record begins here"
NO_MEMBER = "Gzip decompression error: data error"
ENDED = ("incorrect data check", "incorrect length check")  # zlib, at the end of a member
SHORTEST_BYTES = 48  # no member with a record of a page is as short
LONGEST_START_BYTES = 16
PART_BYTES = 1 << 15
SEARCH_BYTES = 1 << 12
LARGEST_RECORD_BYTES = 32 << 20  # 190,000 characters are at most 0.8 MB of text
LONGEST_HEADERS_BYTES = 32 << 10
TWO_ENDS = (b"\r\n\r\n", b"\n\n")
LONGEST_ENDS = 5  # one more than the longest
SUFFIXES = (".wet", ".wet.gz")
HTML_SUFFIXES = (".warc", ".warc.gz")
ANOTHER_RECORD = re.compile(rb"(?:^|\n)WARC/1\.\d+\r?\n")
HEADER_PREFIXES = ("WARC", "CONTENT-", "Content-")
HTTP = "application/http"


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


RecordReader = Callable[[ArchiveRecord], Page | Defect | None]


class Section(NamedTuple):
    """A part of the file in which records follow each other.

    Attributes:
        offset: offset of its first byte.
        is_member: whether it is a gzip member; a plain file is one section.
        content: its records, uncompressed; reading a member may raise `DamagedMember`.
    """

    offset: int
    is_member: bool
    content: io.BufferedReader


class DamagedMember(Exception):
    """A gzip member that cannot be decompressed to its end; the reason is a broken record's."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class GzipMember(io.RawIOBase):
    """The content of one gzip member, decompressed in parts; it ends where the member ends."""

    def __init__(self, file: io.BufferedReader, offset: int):
        self.is_damaged = self.runs_on = False
        self._file, self._offset, self._part, self._position = file, offset, offset, offset
        self._inflate, self._rest = zlib.decompressobj(wbits=31), b""

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Reads the next part of the content.

        Raises:
            DamagedMember: if the member is cut short or damaged.
        """
        content = self._decompress(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def end(self) -> int:
        """Returns the offset after the member, or the offset of the byte that is damaged."""
        try:
            while not self.is_damaged and self._decompress(PART_BYTES):
                pass
        except DamagedMember:
            pass
        if self.is_damaged:
            return self._damaged_byte()
        return self._position - len(self._inflate.unused_data)

    def earliest_neighbour(self, end: int) -> int:
        """Returns the first offset at which a member behind this damaged one may begin."""
        first = self._offset + 1
        return first if self.runs_on else max(first, end - SHORTEST_BYTES)

    def _decompress(self, size: int) -> bytes:
        while not self._inflate.eof:
            self._rest = self._rest or self._next_part()
            try:
                content = self._inflate.decompress(self._rest, size)
            except zlib.error as error:
                self.is_damaged = True
                self.runs_on = not any(check in str(error) for check in ENDED)
                raise DamagedMember("unreadable", NO_MEMBER) from error
            self._rest = self._inflate.unconsumed_tail
            if content:
                return content
        return b""

    def _next_part(self) -> bytes:
        part = _part_at(self._file, self._position)
        self._part, self._position = self._position, self._position + len(part)
        if not part:
            self.is_damaged = True
            raise DamagedMember("truncated")
        return part

    def _damaged_byte(self) -> int:
        """Decompresses again, at last byte by byte: zlib does not name the byte that fails."""
        again, position = zlib.decompressobj(wbits=31), self._offset
        while part := _part_at(self._file, position):
            if position < self._part:
                part = part[: self._part - position]
                _discard(again, part)
            else:
                for place in range(len(part)):
                    try:
                        _discard(again, part[place : place + 1])
                    except zlib.error:
                        return position + place
            position += len(part)
        return position


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields the pages and broken records of a WET file."""
    return _read(path, _text_page)


def read_html(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields the responses of a WARC file, as pages with extracted text or as broken records."""
    return _read(path, _html_page)


def _read(path: Path, read_record: RecordReader) -> Iterator[Page | BrokenRecord]:
    for record in read_records(path):
        if isinstance(record, BrokenRecord):
            yield record
            continue
        try:
            page = read_record(record)
        except BaseException as error:
            page = Defect.of(error)
        if isinstance(page, Defect):
            yield BrokenRecord.at(path, record.offset, *page, size=len(record.body))
        elif page is not None:
            yield page


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
    if record.kind in ("resource", "conversion"):  # documents without the response of a server
        return Defect("not_a_response", record.kind)
    if record.kind != "response":
        return None
    if not (record.headers.get("Content-Type") or "").strip().lower().startswith(HTTP):
        return Defect("not_html", record.url)
    response = html_of(record.body)
    if isinstance(response, Defect):
        return response._replace(detail=response.detail or record.url)
    if _may_hold_another(record, response.content):
        return Defect("holds_another_record", record.url)
    if is_too_complex(response.content):
        return Defect("too_complex", record.url)
    return _page(record, lambda: html.text_of(response.content, response.charset))


def _page(record: ArchiveRecord, extract_text: Callable[[], str]) -> Page | Defect:
    timestamp = record.headers.get("WARC-Date") or ""
    if not record.url:
        return Defect("no_url")
    if not timestamp:
        return Defect("no_timestamp", record.url)
    if not is_timestamp(timestamp):
        return Defect("invalid_timestamp", record.url)
    text = extract_text()
    if not text:
        return Defect("no_text", record.url)
    declared = record.headers.get("WARC-Identified-Content-Language")
    return Page(
        url=record.url,
        text=text,
        timestamp=timestamp,
        declared_language=declared_language(declared),
        declaration=unlisted_declaration(declared),
    )


def text_of(content: str) -> str:
    """Returns the page's text as the reference extracts it.

    All three line endings end a line; lines that begin like an archive header are dropped.
    """
    if "\r" in content:
        content = content.replace("\r\n", "\n").replace("\r", "\n")
    stripped = map(str.strip, content.split("\n"))
    return "\n".join([line for line in stripped if line and not line.startswith(HEADER_PREFIXES)])


def _may_hold_another(record: ArchiveRecord, body: bytes) -> bool:
    """Returns whether a body may be two pages, joined by a Content-Length that is too large."""
    if record.fills_member or b"WARC/1." not in body:  # 30 times as fast, and true of most pages
        return False
    return ANOTHER_RECORD.search(body) is not None


def read_records(path: Path) -> Iterator[ArchiveRecord | BrokenRecord]:
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
            record = _record(section.content, offset, line)
            if isinstance(record, int):
                yield BrokenRecord.at(path, offset, "too_large", size=record)
            elif isinstance(record, str):
                yield BrokenRecord.at(path, offset, record)
                return
            blanks, line = _next_line(section.content)  # checks the end before the record is used
            if isinstance(record, ArchiveRecord):
                yield record._replace(fills_member=is_first and not line and blanks in TWO_ENDS)
            is_first = False
            if line and section.is_member and not RECORD.fullmatch(line):
                yield BrokenRecord.at(path, offset, "longer_than_declared")
                return
    except DamagedMember as damage:
        yield BrokenRecord.at(path, offset, damage.reason, damage.detail)


def _record(content: io.BufferedReader, offset: int, version: bytes) -> ArchiveRecord | str | int:
    """Returns the record that begins with this line; of a broken one the reason.

    Of one that is too large the number of bytes is returned, which are skipped.
    """
    block = _header_block(content, version)
    if block is None:
        return "unreadable"
    if not block:
        return "truncated"
    headers = HeaderMap("utf-8")
    headers.parse(io.BytesIO(block))
    declared_lengths = {value.strip() for value in headers.get_multiple("Content-Length")}
    text = declared_lengths.pop() if len(declared_lengths) == 1 else ""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        return "no_content_length"
    length = int(text)
    if length > LARGEST_RECORD_BYTES:
        left = length
        while left > 0 and (part := content.read(min(left, PART_BYTES))):
            left -= len(part)
        return length - left
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
            return b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in lines)
    return b""


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


def sections(path: Path) -> Iterator[Section | BrokenRecord]:
    """Yields the sections of a file, and one broken record for the bytes between two of them.

    A file with one gzip member has no plain records: such a line may be a page, stored in a member.
    """
    yield from cut_to_nothing(path)
    possible, read_again = ANY_START, 0
    with _buffer(path.open("rb", buffering=0)) as file:
        start = _start_of_text(file, 0)
        while start is not None:
            head = _bytes_at(file, start, LONGEST_START_BYTES)
            if head.startswith(GZIP):
                possible = MEMBER_START
                member = GzipMember(file, start)
                yield Section(start, True, _buffer(member))
                end = member.end()
                if not member.is_damaged:
                    start = _start_of_text(file, end)
                    continue
                start = next_start(file, member.earliest_neighbour(end), possible)
                if start is not None and start < end and read_again + end - start > end:
                    start = next_start(file, end, possible)
                read_again += 0 if start is None else max(end - start, 0)
            elif RECORD.match(head) and possible is ANY_START:
                file.seek(start)
                yield Section(start, False, file)
                return
            else:
                detail = NO_RECORD if possible is ANY_START else NO_MEMBER
                yield BrokenRecord.at(path, start, "unreadable", detail)
                start = next_start(file, start + 1, possible)


def _buffer(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, PART_BYTES)


def next_start(file: io.BufferedReader, after: int, possible: re.Pattern[bytes]) -> int | None:
    """Returns the first offset at or after `after` where a record begins."""
    while True:
        before = min(after, 1)  # the byte that must end a line
        part = _bytes_at(file, after - before, SEARCH_BYTES)
        for match in possible.finditer(part, before):
            start = after - before + match.start()
            if _begins_record(file, start):
                return start
        if len(part) < SEARCH_BYTES:
            return None
        after += SEARCH_BYTES - before - LONGEST_START_BYTES


def _begins_record(file: io.BufferedReader, offset: int) -> bool:
    head = _bytes_at(file, offset, 512)
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, LONGEST_START_BYTES)
        except zlib.error:
            return False
    return RECORD.match(head) is not None


def _start_of_text(file: io.BufferedReader, offset: int) -> int | None:
    """Returns the first offset from there on that is not a blank, None at the end of the file."""
    while part := _part_at(file, offset):
        if text := part.lstrip():
            return offset + len(part) - len(text)
        offset += len(part)
    return None


def _part_at(file: io.BufferedReader, offset: int) -> bytes:
    """Returns the next bytes, at most a part; those that the file's buffer holds, if any."""
    file.seek(offset)
    return file.peek()


def _bytes_at(file: io.BufferedReader, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _discard(inflate: "zlib._Decompress", part: bytes) -> None:
    while part:
        inflate.decompress(part, PART_BYTES)
        part = inflate.unconsumed_tail
