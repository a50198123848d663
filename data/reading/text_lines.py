"""Reads the lines of a text file, which may be compressed by gzip.

The first bytes of a file determine whether it is compressed, not its name. A truncated or damaged
gzip file yields the lines before the damage and one broken record. A line is held only up to the
longest possible page, however far a small file decompresses.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data.errors import is_system_error
from data.reading.page import BrokenRecord

GZIP = b"\x1f\x8b"
LONGEST_LINE_BYTES = 32 << 20  # 190,000 characters are at most 2.3 MB, if all are escaped


class Line(NamedTuple):
    """A line that is not blank.

    Attributes:
        offset: offset in bytes of the uncompressed stream.
        content: bytes of the line.
    """

    offset: int
    content: bytes


def read(path: Path) -> Iterator[Line | BrokenRecord]:
    """Yields each line that is not blank; a broken record where one is too long, and at damage."""
    offset = 0
    with _opened(path) as stream:
        try:
            while line := stream.readline(LONGEST_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) == LONGEST_LINE_BYTES:
                    yield BrokenRecord.at(path, offset, "too_large")
                    offset += _skip_line(stream)
                elif line.strip():
                    yield Line(offset, line)
                offset += len(line)
        except EOFError as error:
            yield BrokenRecord.at(path, offset, "truncated", str(error))
        except (OSError, zlib.error) as error:
            if isinstance(error, OSError) and is_system_error(error):
                raise
            yield BrokenRecord.at(path, offset, "unreadable", str(error))


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_compressed = file.read(len(GZIP)) == GZIP
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # pyright: ignore[reportReturnType]


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while part := stream.readline(1 << 20):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
