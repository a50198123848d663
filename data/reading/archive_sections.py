"""Cuts a web archive into sections: its gzip members, or the whole of a plain file.

A record lies within one section (ISO 28500, annex D: each record is a gzip member of its own). A
gzip member inside a whole member, stored there without compression, is never a section. Files are
read, never mapped, so a file that another process cuts short ends the section and not this process.

If a member was cut short, decompression runs into the next one and fails there. Reading then goes
back to the first member that begins after the start of the damaged one, so that its neighbour is
not lost. In all, at most as many bytes are reread as precede the damage; beyond that limit, reading
resumes at the byte that failed. If only the checksum or the length is wrong, reading resumes after
the member, or at another one that begins in its last bytes and is too long to lie within it.

Each byte of a file is read a bounded number of times, and decompressed content is held in parts of
32 KiB. Offsets are bytes of the file on disk.
"""

import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.reading.page import BrokenRecord

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


class DamagedMember(Exception):
    """A gzip member that cannot be decompressed to its end; the reason is a broken record's."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


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


def sections(path: Path) -> Iterator[Section | BrokenRecord]:
    """Yields the sections of a file, and one broken record for the bytes between two of them.

    A file with one gzip member has no plain records: such a line may be a page, stored in a member.
    """
    possible, read_again = ANY_START, 0
    with _opened(path) as file:
        start = _start_of_text(file, 0)
        while start is not None:
            head = _bytes_at(file, start, LONGEST_START_BYTES)
            if head.startswith(GZIP):
                possible = MEMBER_START
                member = GzipMember(file, start)
                yield Section(start, True, _buffered(member))
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


def _opened(path: Path) -> io.BufferedReader:
    return _buffered(path.open("rb", buffering=0))


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, PART_BYTES)


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
        content = self._decompressed(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def end(self) -> int:
        """Returns the offset after the member, or the offset of the byte that is damaged."""
        try:
            while not self.is_damaged and self._decompressed(PART_BYTES):
                pass
        except DamagedMember:
            pass
        return self._failure() if self.is_damaged else self._end()

    def earliest_neighbour(self, end: int) -> int:
        """Returns the first offset at which a member behind this damaged one may begin."""
        first = self._offset + 1
        return first if self.runs_on else max(first, end - SHORTEST_BYTES)

    def _decompressed(self, size: int) -> bytes:
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

    def _end(self) -> int:
        return self._position - len(self._inflate.unused_data)

    def _failure(self) -> int:
        """Decompresses again, at last byte by byte: zlib does not name the byte that fails."""
        again, position = zlib.decompressobj(wbits=31), self._offset
        while part := _part_at(self._file, position):
            if position < self._part:
                part = part[: self._part - position]
                _discard(again, part)
            else:
                for at in range(len(part)):
                    try:
                        _discard(again, part[at : at + 1])
                    except zlib.error:
                        return position + at
            position += len(part)
        return position


def _discard(inflate: "zlib._Decompress", part: bytes) -> None:
    while part:
        inflate.decompress(part, PART_BYTES)
        part = inflate.unconsumed_tail


def next_start(file: io.BufferedReader, after: int, possible: re.Pattern[bytes]) -> int | None:
    """Returns the first offset at or after `after` where a record begins."""
    while True:
        before = min(after, 1)  # the byte that must end a line
        part = _bytes_at(file, after - before, SEARCH_BYTES)
        for found in possible.finditer(part, before):
            start = after - before + found.start()
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
