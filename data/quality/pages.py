"""Characters of many pages in one array."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt16, UInt32

from data import scripts
from data.quality import characters


class Pages(NamedTuple):
    """Characters of pages.

    Attributes:
        texts: text of each page.
        codes: characters of all pages, each page followed by a newline.
        flags: kinds of the characters.
        offsets: index of each page's first character, and the number of characters.
    """

    texts: Sequence[str]
    codes: UInt32[np.ndarray, " characters"]
    flags: UInt16[np.ndarray, " characters"]
    offsets: Int64[np.ndarray, " pages_and_1"]

    @property
    def lengths(self) -> Int64[np.ndarray, " pages"]:
        """Number of characters of each page."""
        return np.diff(self.offsets) - 1


def joined(texts: Sequence[str]) -> Pages:
    """Returns the characters of pages."""
    codes = scripts.code_points("\n".join(texts) + "\n")
    offsets = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Pages(texts, codes, characters.flags()[codes], offsets)
