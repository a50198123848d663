"""Reads pages from JSON lines, the format of C4 and many other published corpora.

Each line is one object with the fields of `page_record`. Any other line is a `BrokenRecord`, with
its offset in bytes of the uncompressed stream. Compression and damage are those of `text_lines`.
A line of 32 MB may hold millions of objects, each of 50 times its bytes, so they are counted first.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data.reading import text_lines
from data.reading.page import BrokenRecord, Page
from data.reading.page_record import defect_of, page_of
from data.reading.published_names import Published, published_as
from data.reading.text_lines import Line

MOST_VALUES = 500_000  # at most 130 bytes each, so 64 MB
MARKS = (b"{", b"[", b",")  # one before each value but the first
# Possessive, and to the end of the line if no quote ends it: the time is that of reading the line.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


class JsonValue(NamedTuple):
    """The value of a line, which is JSON of any shape.

    Attributes:
        offset: offset in bytes of the uncompressed stream.
        value: the value.
    """

    offset: int
    value: Any


def read(path: Path) -> Iterator[Page | BrokenRecord]:
    """Yields one page or broken record per line."""
    published = published_as(path.name)
    for found in values(path):
        yield found if isinstance(found, BrokenRecord) else _page(path, found, published)


def values(path: Path) -> Iterator[JsonValue | BrokenRecord]:
    """Yields the value of each line, or a broken record."""
    for line in text_lines.read(path):
        yield line if isinstance(line, BrokenRecord) else _value(path, line)


def _value(path: Path, line: Line) -> JsonValue | BrokenRecord:
    if _has_too_many_values(line.content):
        return BrokenRecord.at(path, line.offset, "too_many_values")
    try:
        return JsonValue(line.offset, json.loads(_without_mark(line.content).decode("utf-8")))
    except UnicodeDecodeError as error:
        return BrokenRecord.at(path, line.offset, "invalid_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return BrokenRecord.at(path, line.offset, "not_json", str(error))


def _has_too_many_values(content: bytes) -> bool:
    """Returns whether a line has more values than memory is kept for; marks in texts are none."""
    if sum(map(content.count, MARKS)) <= MOST_VALUES:
        return False
    return sum(map(STRING.sub(b"", content).count, MARKS)) > MOST_VALUES


def _without_mark(content: bytes) -> bytes:
    """Returns a line without the byte-order mark that some programs begin a file with."""
    return content.removeprefix(codecs.BOM_UTF8)


def _page(path: Path, found: JsonValue, published: Published) -> Page | BrokenRecord:
    reason = defect_of(found.value, published)
    if reason is not None:
        return BrokenRecord.at(path, found.offset, reason)
    return page_of(found.value, published)
