"""Which pages are held out for evaluation; decided by the page's address alone, so it never moves.

mC4 holds out the pages whose address hashes to a multiple of 1000: right for a crawl, but most
languages of a small corpus would get none. The other way takes a share of each language, those with
the smallest hashes, never fewer than a minimum and never more than a maximum. It needs two numbers
a language, its page count and its smallest hashes, both bounded, and is then as local as the first.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from data.errors import DataError
from data.urls import number

Split = Literal["train", "validation"]

MOST_HELD_OUT = 10_000  # mT5's perplexity was taken over as many examples
BEFORE_ALL = b""  # no hash is smaller or equal: nothing is held out


@dataclass(frozen=True)
class OneIn:
    """Holds out one page in so many of the whole web, whatever its language."""

    pages: int

    def __str__(self) -> str:
        return f"one page in {self.pages}, by the hash of its address"

    def split(self, digest: bytes) -> Split:
        """Returns the split of a page with this normalized hash."""
        return "validation" if number(digest) % self.pages == 0 else "train"


@dataclass(frozen=True, kw_only=True)
class AsPublished:
    """Leaves pages in the split that their file was published as.

    Attributes:
        otherwise: decides for pages whose file does not say.
    """

    otherwise: OneIn

    def __str__(self) -> str:
        return f"those published as such, or else {self.otherwise}"


@dataclass(frozen=True, kw_only=True)
class ShareOfEachLanguage:
    """Holds out a share of each language's pages.

    Attributes:
        share: part of a language's pages, rounded up.
        minimum: held out in any case, unless that were more than half of the pages.
        maximum: never more than this; bounds what has to be known of a language.
    """

    share: float
    minimum: int
    maximum: int

    def __str__(self) -> str:
        return (
            f"{100 * self.share:g}% of each language's pages, at least {self.minimum} "
            f"and at most {self.maximum}"
        )

    def count(self, pages: int) -> int:
        """Returns how many of a language's pages are held out; 1 of 1 page would leave none."""
        least = min(self.minimum, pages // 2)
        return min(self.maximum, max(least, math.ceil(self.share * pages) if pages > 1 else 0))

    def last_held_out(self, pages: int, smallest: Iterable[bytes]) -> bytes:
        """Returns the largest hash that is held out.

        Args:
            pages: how many the language has.
            smallest: its `maximum` smallest normalized hashes, or all if it has fewer.
        """
        held_out = sorted(smallest)[: self.count(pages)]
        return held_out[-1] if held_out else BEFORE_ALL


def share_of_each_language(share: float, minimum: int) -> ShareOfEachLanguage:
    """Returns the rule of a user's settings: a share, and how many pages at the least.

    Raises:
        DataError: the share is not between 0 and 1, or the minimum is negative.
    """
    if not 0 <= share < 1:
        raise DataError(
            f"A validation share of {share:g} was asked for; give a part of each language's pages, "
            "0 or more and less than 1."
        )
    if minimum < 0:
        raise DataError(f"At least {minimum} held-out pages were asked for; give 0 or more.")
    return ShareOfEachLanguage(share=share, minimum=minimum, maximum=MOST_HELD_OUT)


def split_up_to(digest: bytes, last_held_out: bytes) -> Split:
    """Returns the split of a page, given the largest hash of its language that is held out."""
    return "validation" if digest <= last_held_out else "train"
