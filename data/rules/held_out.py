"""Which pages are held out for evaluation, by the hash of a page's address, so that no page moves.

mC4 holds out the pages whose hash is a multiple of 1000. That suits a crawl, but most languages of
a small corpus would have none. `ShareOfEachLanguage` holds out the pages with the smallest hashes
of each language: a share, with a minimum and a maximum. It needs a language's page count and its
smallest hashes, a bounded amount; after that each page is decided alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from data.errors import DataError
from data.urls import number

Split = Literal["train", "validation"]

MOST_HELD_OUT = 10_000  # the number of examples behind mT5's perplexities
BEFORE_ALL = b""  # smaller than any hash: nothing is held out


@dataclass(frozen=True)
class OneIn:
    """Holds out one page in `pages`, in every language."""

    pages: int

    def __str__(self) -> str:
        return f"one page in {self.pages}, by the hash of its address"

    def split(self, digest: bytes) -> Split:
        """Returns the split of a page with this normalized hash."""
        return "validation" if number(digest) % self.pages == 0 else "train"


@dataclass(frozen=True, kw_only=True)
class AsPublished:
    """Keeps pages in the split of their published file.

    Attributes:
        otherwise: rule for pages whose file has no split in its name.
    """

    otherwise: OneIn

    def __str__(self) -> str:
        return f"those published as such, or else {self.otherwise}"


@dataclass(frozen=True, kw_only=True)
class ShareOfEachLanguage:
    """Holds out a share of each language's pages.

    Attributes:
        share: share of a language's pages, rounded up.
        minimum: smallest number of held-out pages, but at most half of the pages.
        maximum: largest number of held-out pages, which bounds the hashes kept per language.
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
        """Returns how many of a language's pages are held out; of a single page none."""
        least = min(self.minimum, pages // 2)
        return min(self.maximum, max(least, math.ceil(self.share * pages) if pages > 1 else 0))

    def last_held_out(self, pages: int, smallest: Iterable[bytes]) -> bytes:
        """Returns the largest hash that is held out.

        Args:
            pages: number of pages of the language.
            smallest: the language's `maximum` smallest normalized hashes, or all if it has fewer.
        """
        held_out = sorted(smallest)[: self.count(pages)]
        return held_out[-1] if held_out else BEFORE_ALL


@dataclass(frozen=True, kw_only=True)
class ShareOfUnsplitPages(ShareOfEachLanguage):
    """Holds out a share of each language's pages where none was published as held out."""

    def check(self, url: str, split: str) -> None:
        """Checks that a page was not published for validation, where it could become training text.

        Raises:
            DataError: if it was.
        """
        if split == "validation":
            raise DataError(
                f"{url} was published in the split 'validation', and --validation-share or "
                "--validation-minimum would mix it with training text; leave both out, or such "
                "pages."
            )


def share_of_each_language(share: float, minimum: int) -> ShareOfEachLanguage:
    """Returns the rule for the user's share and minimum.

    Raises:
        DataError: if the share is not between 0 and 1, or the minimum impossible.
    """
    if not 0 <= share < 1:
        raise DataError(
            f"A validation share of {share:g} was asked for; give a part of each language's pages, "
            "0 or more and less than 1."
        )
    if not 0 <= minimum <= MOST_HELD_OUT:
        raise DataError(
            f"At least {minimum} held-out pages were asked for; give 0 to {MOST_HELD_OUT:,}."
        )
    return ShareOfEachLanguage(share=share, minimum=minimum, maximum=MOST_HELD_OUT)
