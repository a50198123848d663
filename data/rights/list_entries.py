"""What a line of a list names: domains, addresses, nothing, or what is not an entry.

Syntax of other lists, such as `||example.org^` of ad blockers, and rows of tables are not entries:
a host is compared by its labels, so that they would never match a page.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from data.rights.addresses import OF_TEXT, host_and_page, key
from data.rights.hosts import split

HOSTS_FILE = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)(?:\s+|$)")
COMMENT = re.compile(r"(?:^|\s)#.*")
WILDCARD = re.compile(r"^\*?\.(?=[^/?]+$)")  # before a domain; an address is of one host
HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+").fullmatch
NO_ADDRESS = re.compile(r"[\x00-\x1f\x7f*\ufffd]").search  # * is a wildcard, \ufffd no UTF-8
SCHEMES = ("", "http", "https")


class Entry(NamedTuple):
    """What a list names.

    Attributes:
        name: the domain, or the key of an address (`addresses.key`).
        is_domain: whether it is a domain with all hosts below it.
    """

    name: str
    is_domain: bool


def entries(line: str) -> Iterator[Entry | None]:
    """Yields the entries of a line, and None for each that cannot be one.

    A comment has none, a line of a hosts file as many as it has names.
    """
    text = COMMENT.sub("", line).strip()
    names = HOSTS_FILE.sub("", text, count=1)
    for name in [names] if names == text else names.split():
        if name:
            yield _entry(name)


def _entry(name: str) -> Entry | None:
    if OF_TEXT(name):
        return Entry(name, False)
    name = WILDCARD.sub("", name)
    parts = split(name)
    if NO_ADDRESS(name) or parts is None or "@" in parts.netloc or ".." in parts.netloc:
        return None
    host, page = host_and_page(name)
    if parts.scheme not in SCHEMES or not HOST(host):
        return None
    if parts.fragment and not page:
        return None  # `example.org/#/bob` is a wish for less than the host
    is_domain = not (parts.scheme or parts.path or page)
    return Entry(host, True) if is_domain else Entry(key(host, page), False)
