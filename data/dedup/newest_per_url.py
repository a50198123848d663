"""One page per address: of pages with one normalized address the newest is kept, as in mC4 3.1.0.

Newest is the greatest time, in UTC, as published corpora write times in several ways; the reference
compares strings of one form, which gives the same. It decides ties by chance (mC4 3.0.1 decides
everything by chance). Here the smaller digest of the content wins, so the result does
not depend on the order of the input. A chunk of the input keeps only its local newest versions, as
max is associative; a version takes 62 bytes.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from data.reading.page import Page, sortable
from data.urls import normalized_hash


class PageVersion(NamedTuple):
    """One version of the page at an address, by which it is compared with the other versions.

    Attributes:
        address: MD5 of the normalized address.
        timestamp: time of the crawl, in UTC, as text that sorts by time.
        content: MD5 of text, address and declared language.
    """

    address: bytes
    timestamp: str
    content: bytes


def version_of(page: Page) -> PageVersion:
    """Returns the page as a version of its address."""
    digest = hashlib.md5(page.text.encode("utf-8"), usedforsecurity=False)
    digest.update(f"\n{page.url}\n{page.declared_language or ''}".encode())
    return PageVersion(normalized_hash(page.url), sortable(page.timestamp), digest.digest())


def newest(versions: Sequence[PageVersion]) -> Bool[np.ndarray, " pages"]:
    """Returns which versions are kept; of equal ones, the first."""
    best: dict[bytes, int] = {}
    for number, version in enumerate(versions):
        rival = best.get(version.address)
        if rival is None or _beats(version, versions[rival]):
            best[version.address] = number
    stays = np.zeros(len(versions), dtype=bool)
    stays[list(best.values())] = True
    return stays


def _beats(version: PageVersion, rival: PageVersion) -> bool:
    if version.timestamp != rival.timestamp:
        return version.timestamp > rival.timestamp
    return version.content < rival.content
