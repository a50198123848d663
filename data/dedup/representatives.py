"""The pages that stay: of each group of candidates, those that are similar to no kept page.

A group is a connected component of shared MinHash bands (`components`). A shared band says that two
pages may be similar. A component says less: its ends may have nothing in common. So a page leaves
only for a kept page that it is `similar` to (`greedy_choice`, in this order).

Order: more distinct shingles, then more characters, then the smaller rank of the address, then the
smaller number. A containing page comes before the contained one. Pages with the same shingles
are one page to the choice, and the first represents the others.

Everything follows from the pages of a group alone: the result does not depend on workers,
partitions, or the order of elements.

Memory: 56 bytes per page, and the shingles of one part at a time. A part is many groups or, in
order, a slice of one that has more than `PART_SHINGLES`. A slice is compared with the kept pages of
earlier slices as far as these have no more than that.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from data.dedup.candidates import HEADER, Candidates, headers_of, spans, unpacked
from data.dedup.greedy_choice import greedy_choice

PART_SHINGLES = 1 << 22  # 32 MB

Rows = Int64[np.ndarray, " rows"]
Stands = Int64[np.ndarray, " distinct"]


class Representatives(NamedTuple):
    """Pages in ascending order.

    Attributes:
        page: number of the page.
        representative: number of the kept page that stands for it; its own if it is kept.
        size: number of pages for which this representative stands, itself included.
    """

    page: UInt64[np.ndarray, " pages"]
    representative: UInt64[np.ndarray, " pages"]
    size: Int64[np.ndarray, " pages"]


def representatives(elements: Iterable[bytes]) -> Representatives:
    """Returns which kept page stands for each page.

    Args:
        elements: `candidates.packed` pages, with all pages of each group; iterated once for the
            headers and once per part.
    """
    headers = np.concatenate([np.empty(0, HEADER), *map(headers_of, elements)])
    order = _in_order(headers)
    first, number = _distinct(headers[order])
    distinct = order[first]  # where each distinct page is among all headers
    stands = np.arange(len(distinct))
    for rows in _parts(headers[distinct]):
        kept = _kept_before(headers[distinct], stands, int(rows[0]))
        rows = np.concatenate((kept, rows))
        stands[rows] = rows[greedy_choice(_read(elements, headers, distinct[rows]), len(kept))]
    pages = headers["page"][order]
    return _by_number(pages, pages[first[stands[number]]])


def _in_order(headers: np.ndarray) -> Rows:
    """Returns the pages' order: by group, then that of the choice."""
    names = ("page", "address", "characters", "shingles", "group")
    descending = ("characters", "shingles")
    return np.lexsort([~headers[n] if n in descending else headers[n] for n in names])


def _distinct(headers: np.ndarray) -> tuple[Stands, Rows]:
    """Returns the first page of each set of shingles, in order, and for each page its number."""
    by_set = np.lexsort([headers[name] for name in ("second", "first", "group")])
    keys = headers[["group", "first", "second"]][by_set]
    new = np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]
    first = np.empty(len(headers), np.int64)  # lexsort is stable: the first of a run is the first
    first[by_set] = np.repeat(by_set[new], np.diff(np.append(np.flatnonzero(new), len(keys))))
    return np.unique(first, return_inverse=True)


def _parts(headers: np.ndarray) -> Iterator[Rows]:
    """Yields the rows of each part: groups of about `PART_SHINGLES`, or a slice of one group."""
    ends = np.cumsum(headers["shingles"].astype(np.int64))
    begins = ends - headers["shingles"].astype(np.int64)
    group = headers["group"]
    new = np.concatenate(([True], group[1:] != group[:-1]))[: len(group)]
    number = np.cumsum(new) - 1
    base = begins[new][number]
    size = np.append(begins[new], ends[-1:])[number + 1] - base
    large = size > PART_SHINGLES
    of_groups, of_slices = base // PART_SHINGLES, (begins - base) // PART_SHINGLES
    part = np.stack([np.where(large, number, -1), np.where(large, of_slices, of_groups)])
    cuts = np.flatnonzero((part[:, 1:] != part[:, :-1]).any(axis=0)) + 1
    yield from (rows for rows in np.split(np.arange(len(group)), cuts) if len(rows))


def _kept_before(headers: np.ndarray, stands: Stands, row: int) -> Rows:
    """Returns the kept pages of earlier slices of a row's group, at most `PART_SHINGLES`."""
    begin = np.searchsorted(headers["group"], headers["group"][row])
    rows = np.arange(begin, row)
    rows = rows[stands[rows] == rows]
    return rows[np.cumsum(headers["shingles"][rows].astype(np.int64)) <= PART_SHINGLES]


def _read(elements: Iterable[bytes], headers: np.ndarray, wanted: Rows) -> Candidates:
    """Returns pages with their shingles, given where they are among the headers of all elements."""
    lengths = headers["shingles"][wanted].astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    order = np.argsort(wanted)
    shingles, base = np.empty(lengths.sum(), np.uint64), 0
    for element in elements:
        some = unpacked(element)
        last = base + len(some.headers)
        mine = order[slice(*np.searchsorted(wanted[order], (base, last)))]
        source = spans(some.offsets[wanted[mine] - base], lengths[mine])
        shingles[spans(begins[mine], lengths[mine])] = some.shingles[source]
        base = last
    return Candidates(headers[wanted], shingles)


def _by_number(
    page: UInt64[np.ndarray, " pages"], representative: UInt64[np.ndarray, " pages"]
) -> Representatives:
    order = np.argsort(page)
    page, representative = page[order], representative[order]
    _, at, counts = np.unique(representative, return_inverse=True, return_counts=True)
    return Representatives(page, representative, counts[at])
