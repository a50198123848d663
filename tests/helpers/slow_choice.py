"""The choice of near-duplicates in plain Python: sets, loops, and no NumPy."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence, Set
from fractions import Fraction
from typing import NamedTuple


class SlowPage(NamedTuple):
    """A candidate: its number, set of shingles, length, rank of its address and MinHash bands."""

    number: int
    shingles: Set[Hashable]
    characters: int
    address: int
    bands: Set[Hashable]


def is_similar(one: Set[Hashable], other: Set[Hashable]) -> bool:
    """Returns whether `one` is 0.8 similar to, or 0.95 contained in, another set of its size."""
    common = len(one & other)
    if not common:
        return False
    jaccard = Fraction(common, len(one | other))
    return jaccard >= Fraction(4, 5) or Fraction(common, len(one)) >= Fraction(19, 20)


def groups(pages: Sequence[SlowPage]) -> list[list[SlowPage]]:
    """Returns the pages that bands connect, by merging until nothing changes."""
    found: list[tuple[set[Hashable], list[SlowPage]]] = []
    for page in pages:
        meeting = [one for one in found if one[0] & page.bands]
        found = [one for one in found if not one[0] & page.bands]
        bands = set(page.bands).union(*(one[0] for one in meeting))
        found.append((bands, [page, *(other for one in meeting for other in one[1])]))
    return [members for _, members in found]


def slow_choice(group: Sequence[SlowPage], listed: int) -> Mapping[int, int]:
    """Returns the page that stands for each page of a group, by number.

    Pages are compared with all kept ones in a group of at most `listed` distinct pages. In a larger
    one a band lists the kept pages of a block (of 1, 1, 2, 4, ... and at last `listed` pages) while
    it has fewer than `listed` before the block.
    """
    order = sorted(group, key=lambda p: (-len(p.shingles), -p.characters, p.address, p.number))
    first = {frozenset(page.shingles): page for page in reversed(order)}
    distinct = [page for page in order if first[frozenset(page.shingles)] is page]
    whole = len(distinct) <= listed
    kept: dict[Hashable, list[SlowPage]] = defaultdict(list)
    stands, closed = {}, set[Hashable]()
    for place, page in enumerate(distinct):
        keys = {"group"} if whole else page.bands
        if place % listed == 0 or (place < listed and place & (place - 1) == 0):
            closed = {key for key, pages in kept.items() if len(pages) >= listed}
        rivals = {id(one): one for key in keys for one in kept[key]}.values()
        similar = [one for one in rivals if is_similar(page.shingles, one.shingles)]
        best = min(similar, key=distinct.index, default=page)
        stands[page.number] = best.number
        if best is page:
            for key in keys - closed:
                kept[key].append(page)
    return {page.number: stands[first[frozenset(page.shingles)].number] for page in group}
