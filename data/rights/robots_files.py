"""Reads robots.txt files: those of crawls (WARC), of JSON Lines, and plain ones.

* WARC, as Common Crawl's `robotstxt` files: responses of an address whose path is /robots.txt.
* JSON Lines: {"host": "www.example.org", "robots": "User-agent: ..."}, perhaps with "status" (200
  if left out) and "time".
* Plain: `www.example.org/robots.txt`, in a folder named by its host.

Only what a crawler may rely on is kept (RFC 9309): content of 2xx, the fact of 4xx and 5xx. A
redirect is no answer; the answer is the record of the address to which it leads.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from data.errors import DataError
from data.reading import archive_records, json_lines
from data.reading.http_response import response_of
from data.reading.page import BrokenRecord, Loss
from data.rights.hosts import host_of, split
from data.stores.files import local_copy
from data.stores.json_files import of_shape

MOST_BYTES = 500 << 10  # RFC 9309 asks for as many; Google ignores the rest
ARCHIVES, JSON_LINES = (".warc", ".warc.gz"), (".jsonl", ".jsonl.gz")
PATH = "/robots.txt"


class Robots(NamedTuple):
    """The robots.txt of a host, ordered so that the newest of several is the greatest.

    Attributes:
        time: when it was read, as written in the archive; "" if not known.
        status: HTTP status.
        content: its text; "" unless the status is 2xx.
        host: the host, as `host_of` returns it.
    """

    time: str
    status: int
    content: str
    host: str


class Row(msgspec.Struct):
    """A line of JSON Lines."""

    host: str
    robots: str
    status: int = 200
    time: str = ""


def read_robots(path: str) -> Iterator[Robots]:
    """Yields the robots.txt files of a file, in its order; a host may have several.

    Args:
        path: path or address of a WARC file, JSON Lines, or `HOST/robots.txt`.

    Raises:
        DataError: if the file is none of these, or a line of JSON Lines has another shape.
    """
    with local_copy(path) as here:
        for robots in _of_file(here, path):
            if robots.host and (robots.status // 100) in (2, 4, 5):
                content = robots.content if robots.status // 100 == 2 else ""
                yield robots._replace(content=content)


def _of_file(here: Path, path: str) -> Iterator[Robots]:
    if path.endswith(ARCHIVES):
        return _of_archive(here)
    if path.endswith(JSON_LINES):
        return _of_json_lines(here, path)
    if path.endswith(PATH):
        host = path.removesuffix(PATH).rpartition("/")[2]
        return iter([Robots("", 200, _text(here.read_bytes()), host_of(host))])
    raise DataError(
        f"Robots.txt files are read from {', '.join((*ARCHIVES, *JSON_LINES))} or HOST/robots.txt, "
        f"and {path} is none of these; convert it, or leave it out."
    )


def _of_archive(here: Path) -> Iterator[Robots]:
    for record in archive_records.read(here):
        if isinstance(record, BrokenRecord) or record.kind != "response":
            continue
        parts = split(record.url)
        if parts is not None and parts.path == PATH:
            found = response_of(record.body)
            if not isinstance(found, Loss):
                time = record.headers.get("WARC-Date") or ""
                yield Robots(time, found.status, _text(found.content), host_of(record.url))


def _of_json_lines(here: Path, path: str) -> Iterator[Robots]:
    for found in json_lines.values(here):
        place = f"{path}, byte {found.offset:,}"
        if isinstance(found, BrokenRecord):
            raise DataError(f"{place}, should be JSON and is {found.reason}; correct the line.")
        row = of_shape(found.value, Row, place)
        content = _text(row.robots.encode("utf-8", "replace"))
        yield Robots(row.time, row.status, content, host_of(row.host))


def _text(content: bytes) -> str:
    """Returns the text of a robots.txt, up to the last whole line of its first 500 KiB."""
    if len(content) > MOST_BYTES:
        content = content[: content.rfind(b"\n", 0, MOST_BYTES) + 1]
    return content.decode("utf-8-sig", "replace")
