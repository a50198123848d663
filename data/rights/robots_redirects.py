"""Redirects of robots.txt in an archive: whose answer is the record of another address.

The rules that a redirect leads to are those of the host that was asked (RFC 9309, 2.3.1.2), over at
most five redirects. They are followed within one archive, which is read once more for it; a crawler
writes both records in turn. A host whose redirect leads elsewhere counts as skipped.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from data.reading import archive_records
from data.reading.http_response import Response, response_of
from data.reading.page import BrokenRecord
from data.rights.hosts import host_of, split, with_slashes

MOST_REDIRECTS = 5
LONGEST_ADDRESS = 2048  # characters; redirects are held in memory


class Address(NamedTuple):
    """An address without its scheme, as sites serve both."""

    host: str
    path: str
    query: str


def address_of(url: str) -> Address | None:
    """Returns where an address leads; None if it is malformed or very long."""
    parts = split(url) if len(url) <= LONGEST_ADDRESS else None
    return None if parts is None else Address(host_of(url), parts.path, parts.query)


def redirected_hosts(archive: Path, path: str) -> dict[Address, list[str]]:
    """Returns the hosts whose redirects of a path end at an address, by that address.

    Args:
        archive: a WARC file.
        path: the path that is redirected.
    """
    leads = _leads(archive)
    found: dict[Address, list[str]] = defaultdict(list)
    for begin in leads:
        end, left = begin, MOST_REDIRECTS
        while end in leads and left:
            end, left = leads[end], left - 1
        if begin.path == path:
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
