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
earlier slices as far as these have no more than that. The elements are read twice, whatever the
number of parts: shingles go to a file of this machine, in order, if they are more than one part.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from data.dedup.candidates import HEADER, Candidates, headers_of, spans, unpacked
from data.dedup.greedy_choice import greedy_choice
from data.sorted_numbers import is_first, lengths_of
from data.stores.temporary_folders import temporary_folder

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
        elements: `candidates.packed` pages, with all pages of each group; iterated twice.
    """
    headers = np.concatenate([np.empty(0, HEADER), *map(headers_of, elements)])
    order = _in_order(headers)
    first, number = _distinct(headers[order])
    distinct = order[first]  # where each distinct page is among all headers
    ordered, stands = headers[distinct], np.arange(len(distinct))
    with _shingles(elements, ordered, distinct) as shingles:
        for rows in _parts(ordered):
            kept = _kept_before(ordered, stands, int(rows[0]))
            rows = np.concatenate((kept, rows))
            stands[rows] = rows[greedy_choice(shingles.of(rows), len(kept))]
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
    new = is_first(keys)
    first = np.empty(len(headers), np.int64)  # lexsort is stable: the first of a run is the first
    first[by_set] = np.repeat(by_set[new], lengths_of(new))
    return np.unique(first, return_inverse=True)


def _parts(headers: np.ndarray) -> Iterator[Rows]:
    """Yields the rows of each part: groups of about `PART_SHINGLES`, or a slice of one group."""
    ends = np.cumsum(headers["shingles"].astype(np.int64))
    begins = ends - headers["shingles"].astype(np.int64)
    group = headers["group"]
    new = is_first(group)
    number = np.cumsum(new) - 1
    base = begins[new][number]
    size = np.append(begins[new], ends[-1:])[number + 1] - base
    large = size > PART_SHINGLES
    of_groups, of_slices = base // PART_SHINGLES, (begins - base) // PART_SHINGLES
    part = np.stack([np.where(large, number, -1), np.where(large, of_slices, of_groups)])
    begins = np.flatnonzero(is_first(*part))
    yield from np.split(np.arange(len(group)), begins)[1:]


def _kept_before(headers: np.ndarray, stands: Stands, row: int) -> Rows:
    """Returns the kept pages of earlier slices of a row's group, at most `PART_SHINGLES`."""
    begin = np.searchsorted(headers["group"], headers["group"][row])
    rows = np.arange(begin, row)
    rows = rows[stands[rows] == rows]
    return rows[np.cumsum(headers["shingles"][rows].astype(np.int64)) <= PART_SHINGLES]


class _Shingles(NamedTuple):
    """The shingles of pages in order, one page after the other."""

    headers: np.ndarray
    begins: Int64[np.ndarray, " rows"]
    values: UInt64[np.ndarray, " shingles"]

    def of(self, rows: Rows) -> Candidates:
        """Returns some pages."""
        lengths = self.headers["shingles"][rows].astype(np.int64)
        return Candidates(self.headers[rows], self.values[spans(self.begins[rows], lengths)])


@contextmanager
def _shingles(elements: Iterable[bytes], ordered: np.ndarray, places: Rows) -> Iterator[_Shingles]:
    """Yields the shingles of pages, given where they are among the headers of all elements."""
    lengths = ordered["shingles"].astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    with _numbers(int(lengths.sum())) as values:
        by_place, base = np.argsort(places), 0
        for element in elements:
            some = unpacked(element)
            last = base + len(some.headers)
            mine = by_place[slice(*np.searchsorted(places[by_place], (base, last)))]
            source = spans(some.offsets[places[mine] - base], lengths[mine])
            values[spans(begins[mine], lengths[mine])] = some.shingles[source]
            base = last
        yield _Shingles(ordered, begins, values)


@contextmanager
def _numbers(count: int) -> Iterator[UInt64[np.ndarray, " count"]]:
    """Yields room for numbers: in memory, or in a file if they are more than a part.

    Raises:
        OSError: if the disk has no room for them.
    """
    if count <= PART_SHINGLES:
        yield np.empty(count, np.uint64)
        return
    with temporary_folder() as folder, (folder / "shingles").open("w+b") as file:
        # Else a full disk would end the process by a signal when a page of the map is written.
        os.posix_fallocate(file.fileno(), 0, count * np.dtype(np.uint64).itemsize)
        yield np.memmap(file, np.uint64, "r+", shape=(count,))


def _by_number(
    page: UInt64[np.ndarray, " pages"], representative: UInt64[np.ndarray, " pages"]
) -> Representatives:
    order = np.argsort(page)
    page, representative = page[order], representative[order]
    _, at, counts = np.unique(representative, return_inverse=True, return_counts=True)
    return Representatives(page, representative, counts[at])
