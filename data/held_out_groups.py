"""Held-out pages of corpora whose pages share lines: whole groups go to one side, so none leaks.

After line deduplication each line is in one page, and `held_out` may take any page. Published
corpora, or rules without that step, have menus and copies in many pages. Pages that share a key
(a line's hash, a MinHash band) form a group, and so do pages linked through others. Groups are
taken in the order of their smallest page until a language's quota is full; one that is larger than
what is left is passed over, and so is one of several languages: it trains.

What is guaranteed: no held-out page shares a key with a training page, of any language. What is
not: that the quota is reached. A language whose pages all share one line has one group, and no
held-out page.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from data.held_out import ShareOfEachLanguage
from data.page_graph import Edges, clusters


def held_out_pages(
    pages: UInt64[np.ndarray, " pages"],
    languages: Int64[np.ndarray, " pages"],
    together: Edges,
    quota: ShareOfEachLanguage,
) -> Bool[np.ndarray, " pages"]:
    """Returns which pages are held out.

    Args:
        pages: a number each (`line_rules.rank_of`), none twice.
        languages: a number for the language of each.
        together: edges of all keys that must not be on both sides (`page_graph.edges`).
        quota: how many pages of a language.
    """
    groups = _groups(pages, together)
    held_out = np.zeros(len(pages), bool)
    for language, count in zip(*np.unique(languages, return_counts=True), strict=True):
        members = groups[languages == language]
        elsewhere = np.isin(members, groups[languages != language])
        taken = list(_that_fit(members[~elsewhere], quota.count(int(count))))
        held_out |= np.isin(groups, np.array(taken, np.uint64))
    return held_out


def _groups(pages: UInt64[np.ndarray, " pages"], together: Edges) -> UInt64[np.ndarray, " pages"]:
    """The smallest page of each page's group."""
    found = clusters(together)
    groups = pages.copy()
    linked = np.isin(pages, found.page)
    groups[linked] = found.representative[np.searchsorted(found.page, pages[linked])]
    return groups


def _that_fit(members: UInt64[np.ndarray, " members"], left: int) -> Iterator[np.uint64]:
    for group, size in zip(*np.unique(members, return_counts=True), strict=True):
        if left == 0:
            return
        if size <= left:
            left -= int(size)
            yield group
