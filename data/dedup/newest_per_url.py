"""One page an address: of the pages of one normalized address the newest stays, as in mC4 3.1.0.

Newest is the greatest timestamp, compared as a string. The reference leaves ties to chance (mC4
3.0.1 all of the choice); here the smaller digest of the content wins, so that the answer does not
depend on the order of the input. As with lines, a page that loses among some of its rivals loses
among all: so a crawl can be gone through part by part, on 40 bytes a page.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from data.reading.page import Page
from data.urls import normalized_hash


class PageVersion(NamedTuple):
    """What a page brings forward for its address.

    Attributes:
        address: MD5 of the normalized address.
        timestamp: as the archive writes it.
        content: digest of text, address and declared language.
    """

    address: bytes
    timestamp: str
    content: bytes


def version_of(page: Page) -> PageVersion:
    """Returns the page's claim to its address."""
    digest = hashlib.md5(page.text.encode("utf-8"), usedforsecurity=False)
    digest.update(f"\n{page.url}\n{page.declared_language or ''}".encode())
    return PageVersion(normalized_hash(page.url), page.timestamp, digest.digest())


def newest(claims: Sequence[PageVersion]) -> Bool[np.ndarray, " pages"]:
    """Returns which pages stay; of claims that are wholly equal, the first."""
    best: dict[bytes, int] = {}
    for number, claim in enumerate(claims):
        rival = best.get(claim.address)
        if rival is None or _beats(claim, claims[rival]):
            best[claim.address] = number
    stays = np.zeros(len(claims), dtype=bool)
    stays[list(best.values())] = True
    return stays


def _beats(claim: PageVersion, rival: PageVersion) -> bool:
    if claim.timestamp != rival.timestamp:
        return claim.timestamp > rival.timestamp
    return claim.content < rival.content
