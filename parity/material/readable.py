"""A copy of a WET file without the records that do not decode: the reference dies of them.

The members are found here by zlib alone, so that a change of the readers under comparison never
changes what the reference reads.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

GZIP = b"\x1f\x8b\x08"


def copy(archive: Path, directory: Path) -> Path:
    """Copies every gzip member that holds a record in UTF-8, byte for byte; returns the copy."""
    path = directory / "readable" / archive.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_members(archive.read_bytes())))
    return path


def _members(content: bytes) -> Iterator[bytes]:
    start = content.find(GZIP)
    while start >= 0:
        member = _member(content[start:])
        if member:
            yield member
        start = content.find(GZIP, start + (len(member) or 1))


def _member(content: bytes) -> bytes:
    """Returns the member that the bytes begin with, or nothing if it is cut or not UTF-8."""
    unpacked = zlib.decompressobj(wbits=31)
    try:
        record = unpacked.decompress(content).decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return b""
    whole = unpacked.eof and record.startswith("WARC/1.")
    return content[: len(content) - len(unpacked.unused_data)] if whole else b""
