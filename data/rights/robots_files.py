"""Reads robots.txt files: those of crawls (WARC), of JSON Lines, and plain ones.

* WARC, as Common Crawl's `robotstxt` files: responses of an address whose path is /robots.txt.
* JSON Lines: {"host": "www.example.org", "robots": "User-agent: ..."}, perhaps with "status" (200
  if left out) and "time". Beside a status 4xx or 5xx, "robots" may be null.
* Plain: `www.example.org/robots.txt`, in a folder named by its host.

Only what a crawler may rely on is kept (RFC 9309): the content of a 2xx answer, and the fact that
the answer was 4xx or 5xx. For a host that redirects, the answer at the redirect's target counts if
the same archive holds it (`robots_redirects.py`).

A damaged line or record costs one host. So it is skipped and counted, and does not end a job.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from data.errors import DataError
from data.reading import archive_records, json_lines
from data.reading.http_response import response_of
from data.reading.page import BrokenRecord, Defect
from data.reading.timestamps import sortable
from data.rights.hosts import host_of
from data.rights.robots_redirects import address_of, redirected_hosts
from data.stores.files import exists, local_copy
from data.stores.json_files import of_shape

MOST_BYTES = 500 << 10  # RFC 9309 asks for as many; Google ignores the rest
ARCHIVES, JSON_LINES = (".warc", ".warc.gz"), (".jsonl", ".jsonl.gz")
PATH = "/robots.txt"


class Robots(NamedTuple):
    """The robots.txt of a host, ordered so that the one that counts is the greatest of several.

    It is the newest. Of equally old ones the stricter counts: first a failure, then a text.

    Attributes:
        time: when it was read, as `timestamps.sortable` writes it; "" if not known.
        failed: whether the server answered by 5xx, which refuses everything (RFC 9309).
        content: its text; "" for 4xx and 5xx.
        host: the host, as `host_of` returns it.
    """

    time: str
    failed: bool
    content: str
    host: str


class Row(msgspec.Struct):
    """A line of JSON Lines."""

    host: str
    robots: str | None
    status: int = 200
    time: object = ""


def check_robots_file(path: str) -> None:
    """Checks that a file can hold robots.txt files, by its name.

    Raises:
        DataError: if its name is none of the forms, or it does not exist.
    """
    is_plain = path.endswith(PATH) and _host_of_folder(path)
    if not is_plain and not path.endswith((*ARCHIVES, *JSON_LINES)):
        raise DataError(
            f"Robots.txt files are read from {', '.join((*ARCHIVES, *JSON_LINES))} or "
            f"HOST/robots.txt, and {path} is none of these; convert it, or leave it out."
        )
    if not exists(path):
        raise DataError(f"The file {path} with robots.txt does not exist; check its path.")


def read_robots(path: str, skipped: Counter[str] | None = None) -> Iterator[Robots]:
    """Yields the robots.txt files of a file, in its order; a host may have several.

    Args:
        path: path or address of a WARC file, JSON Lines, or `HOST/robots.txt`.
        skipped: is increased by the number of lines or records that cannot be read, by reason.

    Raises:
        DataError: if the file is none of these, or does not exist.
    """
    check_robots_file(path)
    skipped = Counter() if skipped is None else skipped
    with local_copy(path) as here:
        if path.endswith(ARCHIVES):
            yield from _of_archive(here, skipped)
        elif path.endswith(JSON_LINES):
            yield from _of_json_lines(here, skipped)
        else:
            yield from _answer("", 200, here.read_bytes(), _host_of_folder(path))


def _of_archive(here: Path, skipped: Counter[str]) -> Iterator[Robots]:
    led_here = redirected_hosts(here, PATH)
    not_found = set(led_here)
    for record in archive_records.read(here):
        if isinstance(record, BrokenRecord):
            skipped[record.reason] += 1
            continue
        at = address_of(record.url)
        if record.kind != "response" or at is None:
            continue
        hosts = [*([at.host] if at.path == PATH else ()), *led_here.get(at, ())]
        if not hosts:
            continue
        not_found.discard(at)
        found = response_of(record.body)
        if isinstance(found, Defect):
            skipped[found.reason] += 1
        else:
            time = record.headers.get("WARC-Date") or ""
            for host in hosts:
                yield from _answer(time, found.status, found.content, host)
    if not_found:
        skipped["redirect_elsewhere"] += sum(len(led_here[one]) for one in not_found)


def _of_json_lines(here: Path, skipped: Counter[str]) -> Iterator[Robots]:
    for found in json_lines.values(here):
        row = None if isinstance(found, BrokenRecord) else _row(found.value)
        if row is None:
            skipped[found.reason if isinstance(found, BrokenRecord) else "no_robots_txt"] += 1
            continue
        content = (row.robots or "").encode("utf-8", "replace")
        yield from _answer(row.time, row.status, content, host_of(row.host))


def _row(value: object) -> Row | None:
    """Returns a line's value as a row; None if it has another shape or says nothing of a host."""
    try:
        row = of_shape(value, Row, "a line of robots.txt files")
    except DataError:
        return None
    has_answer = row.robots is not None or row.status // 100 in (4, 5)
    return row if host_of(row.host) and has_answer else None


def _answer(time: object, status: int, content: bytes, host: str) -> Iterator[Robots]:
    """Yields what a crawler may rely on; nothing for a redirect or a malformed host."""
    kind = status // 100
    if host and kind in (2, 4, 5):
        known = sortable(time) if isinstance(time, str) else ""
        yield Robots(known, kind == 5, _text(content) if kind == 2 else "", host)


def _host_of_folder(path: str) -> str:
    return host_of(path.removesuffix(PATH).rpartition("/")[2])


def _text(content: bytes) -> str:
    """Returns the text of a robots.txt, up to the last whole line of its first 500 KiB.

    Lines end by LF, CR or both. Without an end, all of these bytes are one line.
    """
    if len(content) > MOST_BYTES:
        end = max(content.rfind(one, 0, MOST_BYTES) for one in (b"\n", b"\r"))
        content = content[: end + 1 or MOST_BYTES]
    return content.decode("utf-8-sig", "replace")
