"""A copy of a WET file without the records that do not decode: the reference dies of them."""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

from data.reading.archive_damage import next_start


def copy(archive: Path, directory: Path) -> Path:
    """Copies every gzip member that holds UTF-8, byte for byte; returns the copy."""
    content, bounds = archive.read_bytes(), [*_starts(archive), None]
    path = directory / archive.name
    path.write_bytes(
        b"".join(_member(content[start:stop]) for start, stop in itertools.pairwise(bounds))
    )
    return path


def _starts(archive: Path) -> Iterator[int]:
    start = next_start(archive, 0)
    while start is not None:
        yield start
        start = next_start(archive, start + 1)


def _member(content: bytes) -> bytes:
    """Returns the member that the bytes begin with, or nothing if it is cut or no UTF-8."""
    unpacked = zlib.decompressobj(wbits=31)
    try:
        unpacked.decompress(content).decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return b""
    return content[: len(content) - len(unpacked.unused_data)] if unpacked.eof else b""
