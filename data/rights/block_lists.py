"""Lists of domains and addresses whose pages are left out: block lists, and opt-out lists.

A list has one entry per line, plain or gzipped; lines that begin with # are comments.

* A domain or host, such as `example.org`, `*.example.org` or the `0.0.0.0 example.org` of a hosts
  file: all its pages, and those of all hosts below it, by whole labels.
* An address, such as `example.org/forum` or `https://example.org/forum`: that page and all below
  it, on that host alone, with or without `www.`.

Entries are kept as hashes of 64 bits: 80 MB for ten million. Of 10^10 pages with ten look-ups each,
0.05 are then expected to be refused by chance. An entry of one label, such as `com`, is set aside:
it is likelier to be damage than a wish.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from jaxtyping import UInt64

from data.dedup.repeated import distinct, is_among
from data.errors import DataError
from data.reading import text_lines
from data.reading.page import BrokenRecord
from data.rights.hosts import ascii_host, split
from data.rights.reasons import BLOCKED, Reasons
from data.stores.files import exists, local_copy

Hashes = UInt64[np.ndarray, " entries"]
SIMPLE = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+").fullmatch
HOSTS_FILE = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+")
COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class BlockList:
    """The entries of lists, 8 bytes each.

    Attributes:
        domains: hashes of domains and hosts, in ascending order.
        urls: hashes of addresses, in ascending order.
        set_aside: number of lines that are no entry.
        reasons: reasons for pages on the list.
    """

    domains: UInt64[np.ndarray, " domains"]
    urls: UInt64[np.ndarray, " urls"]
    set_aside: int = 0
    reasons: Reasons = BLOCKED

    @classmethod
    def read(cls, paths: Iterable[str], reasons: Reasons = BLOCKED) -> "BlockList":
        """Returns the entries of lists.

        Raises:
            DataError: if a list does not exist, is damaged, or has no entry.
        """
        domains, urls, set_aside = array("Q"), array("Q"), 0
        for path in paths:
            before = len(domains) + len(urls)
            for line in _lines(path):
                if SIMPLE(line):
                    domains.append(xxhash.xxh3_64_intdigest(line))
                    continue
                found = _entry(line.decode("utf-8-sig", "replace"))
                if found is None:
                    set_aside += 1
                elif found:
                    (urls if "/" in found else domains).append(_hash(found))
            if before == len(domains) + len(urls):
                raise DataError(
                    f"The list {path} should have a domain or an address per line and has none; "
                    "leave it out, or correct it."
                )
        return cls(_sorted(domains), _sorted(urls), set_aside, reasons)

    @property
    def state_bytes(self) -> int:
        """Number of bytes that the entries take in memory."""
        return self.domains.nbytes + self.urls.nbytes

    def refused(self, urls: Sequence[str]) -> list[str | None]:
        """Returns for each address the reason why it is on the list; None for the others."""
        addresses = [_address(url) for url in urls]
        on_domains = _any(([*_domains(host)] for host, _ in addresses), self.domains)
        on_urls = _any(([*_pages(*address)] for address in addresses), self.urls)
        return [
            self.reasons.domain if by_domain else self.reasons.url if by_url else None
            for by_domain, by_url in zip(on_domains, on_urls, strict=True)
        ]


def _lines(path: str) -> Iterator[bytes]:
    if not exists(path):
        raise DataError(f"The list {path} does not exist; check its path.")
    with local_copy(path) as here:
        for line in text_lines.read(here):
            if isinstance(line, BrokenRecord):
                raise DataError(
                    f"The list {path} should be text and is {line.reason} at byte {line.offset:,}; "
                    "restore it."
                )
            yield line.content.strip()


def _entry(line: str) -> str | None:
    """Returns a domain, an address with a slash, "" for a comment, or None if it is no entry."""
    line = HOSTS_FILE.sub("", COMMENT.sub("", line).strip(), count=1)
    if not line:
        return ""
    host, page = _address(line.removeprefix("*.").removeprefix("."))
    if "." not in host:
        return None
    return host.removeprefix("www.") + page if page else host


def _address(url: str) -> tuple[str, str]:
    """Returns host and page of an address, the page without a slash at the end."""
    parts = split(url)
    if parts is None:
        return "", ""
    query = f"?{parts.query}" if parts.query else ""
    return ascii_host(parts.hostname or ""), parts.path.rstrip("/") + query


def _domains(host: str) -> Iterator[str]:
    """Yields a host and the domains that it is in."""
    while "." in host:
        yield host
        host = host.partition(".")[2]


def _pages(host: str, page: str) -> Iterator[str]:
    """Yields a page and all that it is below, each on its host without `www.`."""
    address = host.removeprefix("www.") + page
    yield address
    path = address.partition("?")[0]
    while "/" in path:
        yield path
        path = path.rpartition("/")[0]


def _any(names: Iterable[list[str]], entries: Hashes) -> list[bool]:
    """Returns for each list of names whether one is among the entries."""
    lists = list(names)
    hashes = np.array([_hash(name) for some in lists for name in some], np.uint64)
    owners = np.repeat(np.arange(len(lists)), [len(some) for some in lists])
    found = np.bincount(owners[is_among(hashes, entries)], minlength=len(lists))
    return (found > 0).tolist()


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))


def _sorted(hashes: array) -> Hashes:
    return distinct(np.frombuffer(hashes, np.uint64)) if hashes else np.empty(0, np.uint64)
