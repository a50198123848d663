"""Reads robots.txt files: those of crawls (WARC), of JSON Lines, and plain ones.

* WARC, as Common Crawl's `robotstxt` files: responses of an address whose path is /robots.txt.
* JSON Lines: {"host": "www.example.org", "robots": "User-agent: ..."}, perhaps with "status" (200
  if left out) and "time". Beside a status 4xx or 5xx, "robots" may be null.
* Plain: `www.example.org/robots.txt`, in a folder named by its host.

Only what a crawler may rely on is kept (RFC 9309): the content of a 2xx answer, and the fact that
the answer was 4xx or 5xx. The rules that a redirect leads to are those of the host that was asked,
over at most five redirects. They are followed within one archive, which is read once more for it; a
crawler writes both records in turn. A host whose redirect leads elsewhere counts as skipped.

A damaged line or record costs one host. So it is skipped and counted, and does not end a job.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import msgspec

from data.errors import DataError
from data.reading import archive_records, json_lines
from data.reading.http_response import Response, response_of
from data.reading.page import BrokenRecord, Defect
from data.reading.timestamps import sortable
from data.rights.hosts import host_of, split, with_slashes
from data.stores.files import exists, local_copy
from data.stores.json_files import of_shape

MOST_BYTES = 500 << 10  # RFC 9309 asks for as many; Google ignores the rest
ARCHIVES, JSON_LINES = (".warc", ".warc.gz"), (".jsonl", ".jsonl.gz")
PATH = "/robots.txt"
MOST_REDIRECTS = 5
LONGEST_ADDRESS = 2048  # characters; redirects are held in memory


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


class Address(NamedTuple):
    """An address without its scheme, as sites serve both."""

    host: str
    path: str
    query: str


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
    led_here = redirected_hosts(here)
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
    kind = row.status // 100
    has_answer = kind in (4, 5) or (kind == 2 and row.robots is not None)
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


def address_of(url: str) -> Address | None:
    """Returns where an address leads; None if it is malformed or very long."""
    parts = split(url) if len(url) <= LONGEST_ADDRESS else None
    return None if parts is None else Address(host_of(url), parts.path, parts.query)


def redirected_hosts(archive: Path) -> dict[Address, list[str]]:
    """Returns the hosts whose robots.txt is at another address, by that address."""
    leads = _leads(archive)
    found: dict[Address, list[str]] = defaultdict(list)
    for begin in leads:
        end, left = begin, MOST_REDIRECTS
        while end in leads and left:
            end, left = leads[end], left - 1
        if begin.path == PATH:
            found[end].append(begin.host)
    return dict(found)


def _leads(archive: Path) -> dict[Address, Address]:
    """Returns the target of each address that redirects and never answers.

    One that redirects by one scheme, or at one time, may answer by the other or at another.
    """
    leads: dict[Address, Address] = {}
    answered: set[Address] = set()
    for record in archive_records.read(archive):
        if isinstance(record, BrokenRecord) or record.kind != "response":
            continue
        begin = address_of(record.url)
        if begin is None:
            continue
        if not _may_redirect(record.body):
            answered.add(begin)
            continue
        found = response_of(record.body)
        if isinstance(found, Response) and found.status // 100 == 3 and found.location:
            end = _target(record.url, found.location)
            if end not in (None, begin):
                leads[begin] = end
    return {begin: end for begin, end in leads.items() if begin not in answered}


def _may_redirect(message: bytes) -> bool:
    """Returns whether a message's status begins with 3, without unpacking its content."""
    return message[:16].partition(b" ")[2].lstrip()[:1] == b"3"


def _target(url: str, location: str) -> Address | None:
    try:
        return address_of(urljoin(with_slashes(url), location.strip()))
    except ValueError:
        return None
