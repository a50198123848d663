"""Reads pages from JSON lines, the format of C4 and many other published corpora.

Each line is one object with the fields of `page_record`. Any other line is a `BrokenRecord`, with
its offset in bytes of the uncompressed stream. The first bytes of a file determine whether it is
compressed, not its name. A truncated or damaged gzip file yields the lines before the damage and
one loss.
A line is held only up to the longest possible page, however far a small file decompresses.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data.errors import is_system_error
from data.reading.page import BrokenRecord, Page
from data.reading.page_record import defect_of, page_of
from data.reading.published_names import Published, published_as

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")

GZIP = b"\x1f\x8b"
LONGEST_LINE_BYTES = 32 << 20  # 190,000 characters are at most 2.3 MB, if all are escaped


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per line."""
    published, offset = published_as(path.name), 0
    with _opened(path) as stream:
        try:
            while line := stream.readline(LONGEST_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) == LONGEST_LINE_BYTES:
                    yield BrokenRecord.at(path, offset, "too_large")
                    offset += _skip_line(stream)
                elif line.strip():
                    yield _page(path, offset, line, published)
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


def _page(path: Path, offset: int, line: bytes, published: Published) -> Page | BrokenRecord:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BrokenRecord.at(path, offset, "invalid_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return BrokenRecord.at(path, offset, "not_json", str(error))
    reason = defect_of(record)
    if reason is not None:
        return BrokenRecord.at(path, offset, reason)
    return page_of(record, published)
