"""Block lists and opt-out lists: domains and addresses whose pages are left out.

A list has one entry per line in UTF-8, plain or gzipped; lines that begin with # are comments.

* A domain or host, such as `example.org`, `*.example.org` or the `0.0.0.0 example.org` of a hosts
  file: all its pages, and those of all hosts below it, by whole labels.
* An address, with a scheme or a slash, such as `example.org/forum` or `https://example.org/forum`:
  that page and all below it, on that host alone, with or without `www.`. `https://example.org/`
  are so the pages of that host, and not those of `shop.example.org`.
* The `sha256:...` that a page without an address has as its `url`: that page.

Syntax of other lists, such as `||example.org^` of ad blockers, and rows of tables are not entries:
a host is compared by its labels, so that they would never match a page. They are set aside and
counted. So are mail addresses, hosts of more than 253 characters, which the DNS cannot have, and
entries of one label, such as `com`: they are likelier to be damage than a wish.

Entries are kept as hashes of 64 bits: 80 MB for ten million. Of 10^10 pages with ten look-ups each,
0.05 are then expected to be refused by chance. Time and memory are linear in the addresses, however
long these are: of all beginnings of an address only the hashes are kept.
"""

import re
from array import array
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import UInt64

from data.errors import DataError
from data.files.paths import exists, local_copy
from data.numbers import distinct, is_among
from data.reading import records
from data.reading.page import BrokenRecord
from data.urls import LONGEST, OF_TEXT, domains, folder_ends, host_and_page, key, split

ROBOTS_TXT = "robots_txt"
Hashes = UInt64[np.ndarray, " entries"]
SIMPLE = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+").fullmatch  # a domain as most lists have it
UTF_16 = (BOM_UTF16_LE, BOM_UTF16_BE)
# The address stands first: one at the end of another, such as a.org/127.0.0.1, is a part of that.
HOSTS_FILE = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)(?:\s+|$)").match
COMMENT = re.compile(r"(?:^|\s)#.*")
WILDCARD = re.compile(r"^\*?\.(?=[^/?]+$)")  # before a domain; an address is of one host
HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+").fullmatch
NO_ADDRESS = re.compile(r"[\x00-\x1f\x7f*\ufffd]").search  # * is a wildcard, \ufffd no UTF-8
SCHEMES = ("", "http", "https")
SAMPLES, LONGEST_SAMPLE = 3, 80  # characters


class Reasons(NamedTuple):
    """Reasons for pages on a list: the domain is listed, or the page's own address."""

    domain: str
    url: str


BLOCKED = Reasons("blocked_domain", "blocked_url")
OPTED_OUT = Reasons("opted_out", "opted_out")


class Entry(NamedTuple):
    """What a list names.

    Attributes:
        name: the domain, or the key of an address (`addresses.key`).
        is_domain: whether it is a domain with all hosts below it.
    """

    name: str
    is_domain: bool

    def __str__(self) -> str:
        """The entry as a list would have it."""
        is_whole = self.is_domain or OF_TEXT(self.name) or "/" in self.name or "?" in self.name
        return self.name if is_whole else f"{self.name}/"


@dataclass(frozen=True)
class BlockList:
    """The entries of lists, 8 bytes each.

    Attributes:
        domains: hashes of domains and hosts, in ascending order.
        urls: hashes of addresses, in ascending order.
        longest: characters of the longest entry.
        set_aside: number of lines that are not entries; of names, in lines of a hosts file.
        reasons: reasons for pages on the list.
        samples: the first lines that were set aside, at most three, cut to 80 characters.
    """

    domains: UInt64[np.ndarray, " domains"]
    urls: UInt64[np.ndarray, " urls"]
    longest: int
    set_aside: int = 0
    reasons: Reasons = BLOCKED
    samples: tuple[str, ...] = ()

    @classmethod
    def read(cls, paths: Iterable[str], reasons: Reasons = BLOCKED) -> "BlockList":
        """Returns the entries of lists.

        Raises:
            DataError: if a list does not exist, is damaged or no UTF-8, or has no entry.
        """
        read = _ReadEntries(array("Q"), array("Q"))
        for path in paths:
            before = len(read.domains) + len(read.urls)
            for line in _lines(path):
                if len(line) <= LONGEST and SIMPLE(line):
                    read.domains.append(xxhash.xxh3_64_intdigest(line))
                    read.longest = max(read.longest, len(line))
                else:
                    read.add(line, path)
            if before == len(read.domains) + len(read.urls):
                raise DataError(
                    f"The list {path} should have a domain or an address per line and has none; "
                    "leave it out, or correct it."
                )
        hashes = _sorted_hashes(read.domains), _sorted_hashes(read.urls)
        return cls(*hashes, read.longest, read.set_aside, reasons, tuple(read.samples))

    def reasons_of(self, urls: Sequence[str]) -> list[str | None]:
        """Returns for each address the reason why it is on the list; None for the others."""
        addresses = [host_and_page(url) for url in urls]
        on_domains = _have_entry((self._of_host(host) for host, _ in addresses), self.domains)
        on_urls = _have_entry((self._of_page(*address) for address in addresses), self.urls)
        return [
            self.reasons.domain if by_domain else self.reasons.url if by_url else None
            for by_domain, by_url in zip(on_domains, on_urls, strict=True)
        ]

    def entries_of(self, urls: Sequence[str]) -> Counter[str]:
        """Returns how many of these addresses each entry names; a page may be named by several."""
        reasons = zip(urls, self.reasons_of(urls), strict=True)
        addresses = [host_and_page(url) for url, reason in reasons if reason is not None]
        entries: dict[tuple[bool, int], str] = {}
        counts: Counter[tuple[bool, int]] = Counter()
        for host, page in addresses:
            on_domains = _listed_hashes(self._of_host(host), self.domains)
            on_urls = _listed_hashes(self._of_page(host, page), self.urls)
            for is_domain, listed in ((True, on_domains), (False, on_urls)):
                for place, of in listed:
                    counts[is_domain, of] += 1
                    if (is_domain, of) not in entries:
                        entries[is_domain, of] = self._entry(host, page, place, is_domain)
        return Counter({entries[entry]: number for entry, number in counts.items()})

    def _of_host(self, host: str) -> Iterator[int]:
        """Yields the hashes of what may be listed of a host."""
        return map(_hash, domains(host, self.longest))

    def _of_page(self, host: str, page: str) -> Iterator[int]:
        """Yields the hashes of what may be listed of a page; each character is hashed once."""
        address, begin, state = key(host, page), 0, xxhash.xxh3_64()
        for end in folder_ends(address, self.longest):
            state.update(_encoded_text(address[begin:end]))
            begin = end
            yield state.intdigest()

    def _entry(self, host: str, page: str, place: int, is_domain: bool) -> str:
        """Returns the entry whose hash has this place among those of a page."""
        if is_domain:
            return str(Entry([*domains(host, self.longest)][place], True))
        address = key(host, page)
        return str(Entry(address[: folder_ends(address, self.longest)[place]], False))


@dataclass
class _ReadEntries:
    """Entries while lists are read.

    Attributes:
        domains: hashes of domains.
        urls: hashes of addresses.
        longest: characters of the longest entry.
        set_aside: number of lines that are not entries.
        samples: the first of them.
    """

    domains: array
    urls: array
    longest: int = 0
    set_aside: int = 0
    samples: list[str] = field(default_factory=list)

    def add(self, line: bytes, path: str) -> None:
        """Adds the entries of a line; refuses one that is not UTF-8 at all."""
        text = line.decode("utf-8-sig", "replace")
        if "\0" in text or line.startswith(UTF_16):
            raise DataError(
                f"The list {path} should be text in UTF-8 and is UTF-16 or binary; convert it."
            )
        for entry in entries(text):
            if entry is not None:
                (self.domains if entry.is_domain else self.urls).append(_hash(entry.name))
                self.longest = max(self.longest, len(entry.name))
                continue
            self.set_aside += 1
            if len(self.samples) < SAMPLES:
                self.samples.append(text[:LONGEST_SAMPLE])


def _lines(path: str) -> Iterator[bytes]:
    if not exists(path):
        raise DataError(
            f"The list {path} does not exist; name a file, with one domain or address per line."
        )
    with local_copy(path) as here:
        for line in records.read_lines(here):
            if isinstance(line, BrokenRecord):
                raise DataError(
                    f"The list {path} should be text and is {line.reason} at byte {line.offset:,}; "
                    "restore it."
                )
            yield from line.content.strip().splitlines()  # also at a CR alone


def entries(line: str) -> Iterator[Entry | None]:
    """Yields the entries of a line, and None for each that cannot be one.

    A comment has none, a line of a hosts file as many as it has names.
    """
    text = COMMENT.sub("", line).strip()
    of_hosts_file = HOSTS_FILE(text)
    for name in text[of_hosts_file.end() :].split() if of_hosts_file else [text]:
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
    if parts.scheme not in SCHEMES or not HOST(host) or len(host) > LONGEST:
        return None
    if parts.fragment and not page:
        return None  # `example.org/#/bob` is a wish for less than the host
    is_domain = not (parts.scheme or parts.path or page)
    return Entry(host, True) if is_domain else Entry(key(host, page), False)


def _have_entry(groups: Iterable[Iterable[int]], entries: Hashes) -> list[bool]:
    """Returns for each group of hashes whether one of them is among the entries."""
    hashes, ends = array("Q"), [0]
    for group in groups:
        hashes.extend(group)
        ends.append(len(hashes))
    listed = np.append(0, np.cumsum(is_among(np.array(hashes, np.uint64), entries)))
    return (np.diff(listed[ends]) > 0).tolist()


def _listed_hashes(hashes: Iterable[int], entries: Hashes) -> Iterator[tuple[int, int]]:
    """Yields the hashes that are among the entries, with their places in the iterable."""
    compared = np.array(array("Q", hashes), np.uint64)
    for place in np.flatnonzero(is_among(compared, entries)).tolist():
        yield place, int(compared[place])


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(_encoded_text(name))


def _encoded_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _sorted_hashes(hashes: array) -> Hashes:
    return distinct(np.frombuffer(hashes, np.uint64)) if hashes else np.empty(0, np.uint64)


def entries_in(path: str) -> Iterator[str]:
    """Yields the entries of a list as a list would have them, in its order."""
    for line in _lines(path):
        yield from (str(entry) for entry in entries(line.decode("utf-8-sig", "replace")) if entry)


def first_reasons(*answers: Sequence[str | None]) -> list[str | None]:
    """Returns for each page the first reason that one of several answers has for it."""
    return [next(filter(None, reasons), None) for reasons in zip(*answers, strict=True)]
