"""Reads pages from JSON lines, the form in which C4 and many other corpora are handed on.

One object a line with `text`, `url`, and where known `timestamp` and the language (`lang` or
`language`); other fields are left alone. A line that is no such object is a `BrokenRecord`; offsets
are bytes of the uncompressed stream. A cut or damaged gzip file gives what could be read, and one
loss. Text with a lone surrogate (JSON can write one, UTF-8 cannot) is broken like invalid UTF-8 in
a web archive.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.languages import declared
from data.page import BrokenRecord, Page

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields every line of the file: a page, or what is broken about it."""
    open_bytes = gzip.open if path.suffix == ".gz" else open
    offset = 0
    with open_bytes(path, "rb") as lines:
        try:
            for line in lines:
                if line.strip():
                    yield _page(path, offset, line)
                offset += len(line)
        except EOFError as error:
            yield BrokenRecord.at(path, offset, "truncated", str(error))
        except (OSError, zlib.error) as error:
            yield BrokenRecord.at(path, offset, "unreadable", str(error))


def _page(path: Path, offset: int, line: bytes) -> Page | BrokenRecord:
    try:
        record = json.loads(line.decode("utf-8"))
        reason = _missing(record)
    except UnicodeError as error:
        return BrokenRecord.at(path, offset, "invalid_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return BrokenRecord.at(path, offset, "not_json", str(error))
    if reason is not None:
        return BrokenRecord.at(path, offset, reason)
    return Page(
        url=record["url"],
        text=record["text"],
        timestamp=_string(record.get("timestamp")),
        declared_language=declared(_string(record.get("lang") or record.get("language"))),
    )


def _missing(record: Any) -> str | None:
    if not isinstance(record, dict):
        return "not_an_object"
    for field in ("text", "url"):
        value = record.get(field)
        if not isinstance(value, str) or not value.strip():
            return f"no_{field}"
        value.encode("utf-8")
    _string(record.get("timestamp")).encode("utf-8")
    return None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
