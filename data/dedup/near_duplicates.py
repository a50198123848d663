"""Near-duplicates: of each group of candidates, the pages that are similar to no kept page stay.

A group is a connected component of shared MinHash bands (`minhash`). A shared band indicates that
two pages may be similar. A component indicates less: its ends may have nothing in common. So a page
leaves only for a kept page that it is `similar` to.

Similar. A page is similar to one with as many shingles or more if their Jaccard similarity is at
least 0.8, or if 0.95 of its shingles are in the other. A candidate carries the set of its shingles
(`minhash.shingles_of`, each hash once), so the similarity is exact. Numbers are compared as
integers, without rounding.

Order (`representatives`, then `greedy_choice`): more distinct shingles, then more characters, then
the smaller rank of the address, then the smaller number. A containing page comes before the
contained one. Pages with the same shingles are one page to the choice, and the first represents the
others.

Comparisons. Each page is compared with the pages of its keys that are kept already. In a group of
at most 64 pages the group is the only key, so a page is compared with every kept page. In a larger
group the keys are the MinHash bands, and a key lists no more kept pages once it has 64. Whatever is
not compared stays: no limit here removes a page.

Blocks of 1, 1, 2, 4, ... and at last 64 pages of every group are taken at once: first compared with
the kept pages of earlier blocks, then among themselves. Ten copies of a page cost nine comparisons
and a few, not 45, and NumPy works on all groups together.

Filter. A bitmap of 2,048 bits per page, with a bit for each shingle's hash, rejects pairs before
the exact comparison, and no similar one (Sandes, Teodoro and Melo 2020, "Bitmap filter: speeding up
exact set similarity joins with bitwise operations"). Each bit that only one of two pages has stands
for a shingle that the other lacks, so

    |x ∩ y| <= |x| - |bits of x without y's|        and the same for y.

Memory: 56 bytes per page, and 8 per distinct shingle of one part at a time. A part is many groups
or, in order, a slice of one that has more than `PART_SHINGLES`. A slice is compared with the kept
pages of earlier slices as far as these have no more than that. The elements are read twice,
whatever the number of parts: shingles go to a file of this machine, in order, if they are more than
one part.

Everything follows from the pages of a group alone: the result does not depend on workers,
partitions, or the order of elements.
"""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import xxhash
from jaxtyping import Bool, Int64, Integer, Shaped, UInt64

from data.dedup.hashed_words import text_chunks
from data.dedup.minhash import BANDS, Shingles, keys_from_shingles, shingle_length, shingles_of
from data.files.paths import temporary_folder
from data.numbers import distinct, distinct_pairs, is_first, lengths_of, splitmix64

HEADER = np.dtype(
    [
        ("group", "<u8"),
        ("page", "<u8"),
        ("address", "<u8"),
        ("first", "<u8"),
        ("second", "<u8"),
        ("characters", "<u8"),
        ("shingles", "<u8"),
    ]
)
JACCARD = (4, 5)
CONTAINED = (19, 20)
BITS = 2048
FILTERED = 1 << 15  # pairs that are filtered at once: 16 MB
MAPPED = 1 << 12  # pages whose bitmaps are made at once: 8 MB
LISTED = 64  # kept pages that a key lists, pages of a block, pages of a group without other keys
PART_SHINGLES = 1 << 22  # 32 MB
Numbers = UInt64[np.ndarray, " pages"]
Rows = Int64[np.ndarray, " rows"]
Pairs = Int64[np.ndarray, " pairs"]
Stands = Int64[np.ndarray, " distinct"]


@dataclass(frozen=True)
class Candidates:
    """Pages with the sets of their shingles, one page after the other.

    Attributes:
        headers: per page, as `HEADER`: number of its group and of the page, rank of its address,
            digest of its shingles in two halves, number of characters and of distinct shingles.
        shingles: hashes of the distinct shingles, ascending within a page.
    """

    headers: np.ndarray
    shingles: UInt64[np.ndarray, " shingles"]

    @functools.cached_property
    def offsets(self) -> Int64[np.ndarray, " pages_and_1"]:
        """Index of each page's first shingle, and the number of shingles."""
        return np.concatenate(([0], np.cumsum(self.headers["shingles"].astype(np.int64))))


def candidates_of(
    texts: Sequence[str], language: str, groups: Numbers, pages: Numbers, addresses: Numbers
) -> Candidates:
    """Returns pages of one language as candidates.

    Args:
        texts: texts of the pages.
        language: code of the language, which decides how long a shingle is.
        groups: number of each page's group, the connected component of shared bands.
        pages: number of each page, no two equal.
        addresses: rank of each page's address (`line_dedup.rank_of`), the last but one criterion.
    """
    length, sets = shingle_length(language), []
    for chunk in text_chunks(texts):
        shingles = shingles_of(chunk, length)
        ends = shingles.offsets.tolist()
        sets += [distinct(shingles.hashes[first:last]) for first, last in itertools.pairwise(ends)]
    headers = np.zeros(len(texts), HEADER)
    headers["group"], headers["page"], headers["address"] = groups, pages, addresses
    digests = b"".join(xxhash.xxh3_128_digest(hashes.data) for hashes in sets)
    headers["first"], headers["second"] = np.frombuffer(digests, "<u8").reshape(-1, 2).T
    headers["characters"], headers["shingles"] = list(map(len, texts)), list(map(len, sets))
    return Candidates(headers, np.concatenate([np.empty(0, np.uint64), *sets]))


def pack(candidates: Candidates) -> bytes:
    """Returns pages as one value: their number, their headers, their shingles."""
    count = np.array([len(candidates.headers)], "<u8")
    parts = (count, candidates.headers, candidates.shingles.astype("<u8", copy=False))
    return b"".join(part.tobytes() for part in parts)


def unpack(element: bytes) -> Candidates:
    """Returns the pages of a value, without a copy."""
    headers = headers_of(element)
    begin = 8 + headers.nbytes
    return Candidates(headers, np.frombuffer(element, "<u8", offset=begin))


def headers_of(element: bytes) -> Shaped[np.ndarray, " pages"]:
    """Returns the headers of a value's pages."""
    return np.frombuffer(element, HEADER, int.from_bytes(element[:8], "little"), 8)


def chosen(candidates: Candidates, rows: Rows) -> Candidates:
    """Returns the pages of these rows, in their order."""
    headers, begins = candidates.headers[rows], candidates.offsets[rows]
    return Candidates(headers, candidates.shingles[spans(begins, headers["shingles"])])


def join(parts: Iterable[Candidates]) -> Candidates:
    """Returns the pages of all parts, in order."""
    parts = [Candidates(np.empty(0, HEADER), np.empty(0, np.uint64)), *parts]
    headers = np.concatenate([part.headers for part in parts])
    return Candidates(headers, np.concatenate([part.shingles for part in parts]))


def spans(
    begins: Int64[np.ndarray, " spans"], lengths: Integer[np.ndarray, " spans"]
) -> Int64[np.ndarray, " indices"]:
    """Returns the indices of all spans, one span after the other."""
    lengths = lengths.astype(np.int64)
    shift = begins - np.cumsum(lengths) + lengths
    return np.arange(lengths.sum()) + np.repeat(shift, lengths)


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
        elements: `packed` pages, with all pages of each group; iterated twice.
    """
    headers = np.concatenate([np.empty(0, HEADER), *map(headers_of, elements)])
    order = _in_order(headers)
    first, number = _distinct(headers[order])
    places = order[first]  # where each distinct page is among all headers
    ordered, stands = headers[places], np.arange(len(places))
    with _pages_in_order(elements, ordered, places) as pages:
        for rows in _parts(ordered):
            kept = _kept_before(ordered, stands, int(rows[0]))
            rows = np.concatenate((kept, rows))
            stands[rows] = rows[greedy_choice(chosen(pages, rows), len(kept))]
    page = headers["page"][order]
    representative = page[first[stands[number]]]
    by_page = np.argsort(page)
    _, kept, sizes = np.unique(representative[by_page], return_inverse=True, return_counts=True)
    return Representatives(page[by_page], representative[by_page], sizes[kept])


def _in_order(headers: np.ndarray) -> Rows:
    """Returns the pages' order: by group, then that of the choice."""
    names = ("page", "address", "characters", "shingles", "group")
    descending = ("characters", "shingles")
    return np.lexsort([~headers[name] if name in descending else headers[name] for name in names])


def _distinct(headers: np.ndarray) -> tuple[Stands, Rows]:
    """Returns the first page of each set of shingles, in order, and for each page its number."""
    by_set = np.lexsort([headers[name] for name in ("second", "first", "group")])
    keys = headers[["group", "first", "second"]][by_set]
    new = is_first(keys)
    first = np.empty(len(headers), np.int64)  # lexsort is stable: the first of a run is the first
    first[by_set] = np.repeat(by_set[new], lengths_of(new))
    return np.unique(first, return_inverse=True)


@contextmanager
def _pages_in_order(
    elements: Iterable[bytes], ordered: np.ndarray, places: Rows
) -> Iterator[Candidates]:
    """Yields the pages of ordered headers, given their places among the headers of all elements."""
    lengths = ordered["shingles"].astype(np.int64)
    with _room_for_shingles(int(lengths.sum())) as shingles:
        pages, by_place, base = Candidates(ordered, shingles), np.argsort(places), 0
        for element in elements:
            packed_pages = unpack(element)
            last = base + len(packed_pages.headers)
            rows = by_place[slice(*np.searchsorted(places[by_place], (base, last)))]
            source = spans(packed_pages.offsets[places[rows] - base], lengths[rows])
            shingles[spans(pages.offsets[rows], lengths[rows])] = packed_pages.shingles[source]
            base = last
        yield pages


@contextmanager
def _room_for_shingles(count: int) -> Iterator[UInt64[np.ndarray, " count"]]:
    """Yields an array in memory, or in a file if it is longer than a part.

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


class Members(NamedTuple):
    """The keys of pages, sorted by page.

    Attributes:
        row: row of a page.
        key: one of its keys, numbered from 0.
    """

    row: Rows
    key: Rows

    def chosen(self, where: Shaped[np.ndarray, " _"]) -> "Members":
        """Returns the members at a mask or at indices."""
        return Members(self.row[where], self.key[where])


class KeptPages:
    """The kept pages that each key lists."""

    def __init__(self, members: Members) -> None:
        counts = np.bincount(members.key)
        places = np.minimum(counts, 2 * LISTED)
        self._begins = np.cumsum(places) - places
        self._counts = np.zeros(len(counts), np.int64)
        self._rows = np.empty(places.sum(), np.int64)

    def open(self, members: Members) -> Members:
        """Returns the members whose key lists further pages."""
        return members.chosen(self._counts[members.key] < LISTED)

    def add(self, members: Members) -> None:
        """Lists kept pages, at most 64 at a time, where a key is open."""
        key = members.key[order := np.argsort(members.key, kind="stable")]
        at = self._begins[key] + self._counts[key] + _numbers_in_runs(key)
        self._rows[at] = members.row[order]
        self._counts += np.bincount(key, minlength=len(self._counts))

    def pairs(self, members: Members) -> tuple[Pairs, Pairs]:
        """Returns (page, listed page) of each member, each pair once, in order."""
        counts = self._counts[members.key]
        listed = self._rows[spans(self._begins[members.key], counts)]
        return distinct_pairs(np.repeat(members.row, counts), listed)


class Similarity:
    """Compares pages with each other, given by their rows.

    Of a pair, `smaller` is the page with fewer distinct shingles, or one of two with as many.
    """

    def __init__(self, pages: Candidates) -> None:
        self._shingles = pages.shingles
        self._ends = pages.offsets
        self._sizes = np.diff(self._ends)
        self._maps = _bitmaps(pages.shingles, self._ends)

    def possible(self, smaller: Pairs, larger: Pairs) -> Bool[np.ndarray, " pairs"]:
        """Returns which pairs may be similar, by their sizes and bitmaps."""
        possible = np.empty(len(smaller), bool)
        for first in range(0, len(smaller), FILTERED):
            part = slice(first, first + FILTERED)
            pairs = smaller[part], larger[part]
            needed = common_needed(*(self._sizes[rows] for rows in pairs))
            possible[part] = needed <= self._most_common(*pairs)
        return possible

    def similar(self, smaller: int, larger: int) -> bool:
        """Returns whether a pair is similar."""
        left, right = (
            self._shingles[self._ends[row] : self._ends[row + 1]] for row in (smaller, larger)
        )
        return overlap(left, right) >= common_needed(len(left), len(right))

    def _most_common(self, smaller: Pairs, larger: Pairs) -> Pairs:
        """Returns an upper bound of the number of common shingles."""
        left, right = self._maps[smaller], self._maps[larger]
        only_left = np.bitwise_count(left & ~right).sum(axis=1, dtype=np.int64)
        only_right = np.bitwise_count(right & ~left).sum(axis=1, dtype=np.int64)
        return np.minimum(self._sizes[smaller] - only_left, self._sizes[larger] - only_right)


def greedy_choice(pages: Candidates, already_kept: int = 0) -> Rows:
    """Returns for each page the row of the kept page that represents it: its own if it is kept.

    Args:
        pages: pages in the order of the choice, those of a group one after the other.
        already_kept: number of first pages, all of one group, that are kept in any case.
    """
    similarity, members = Similarity(pages), _members(pages)
    stands, kept = np.arange(len(pages.headers)), KeptPages(members)
    blocks = _blocks(pages.headers["group"])
    blocks[:already_kept] = -1
    for first in range(0, already_kept, LISTED):
        block = (members.row >= first) & (members.row < min(first + LISTED, already_kept))
        kept.add(kept.open(members.chosen(block)))
    for block in _in_blocks(members, blocks):
        _represent(stands, *kept.pairs(block), similarity)
        undecided = kept.open(block.chosen(stands[block.row] == block.row))
        _represent(stands, *_pairs_among(undecided), similarity)
        kept.add(undecided.chosen(stands[undecided.row] == undecided.row))
    return stands


def _members(pages: Candidates) -> Members:
    """Returns the pages' keys that are shared."""
    group = pages.headers["group"]
    _, number, counts = np.unique(group, return_inverse=True, return_counts=True)
    alone = counts[number] <= LISTED
    (small,), (large,) = np.nonzero(alone), np.nonzero(~alone)
    row = np.concatenate((small, np.repeat(large, BANDS)))
    key = np.concatenate((splitmix64(group[small]), _bands(chosen(pages, large)).ravel()))
    _, key, counts = np.unique(key, return_inverse=True, return_counts=True)
    shared = counts[key] > 1
    _, key = np.unique(key[shared], return_inverse=True)
    order = np.argsort(row[shared], kind="stable")
    return Members(row[shared][order], key[order])


def _bands(pages: Candidates) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the pages' MinHash bands, different ones for different groups."""
    if not len(pages.headers):
        return np.empty((0, BANDS), np.uint64)
    keys = keys_from_shingles(Shingles(pages.shingles, pages.offsets.astype(np.uint64)), "")
    return splitmix64(keys ^ splitmix64(pages.headers["group"])[:, None])


def _blocks(group: UInt64[np.ndarray, " pages"]) -> Rows:
    """Returns the number of each page's block: of 1, 1, 2, 4, ..., 32, 64, 64, ... pages."""
    place = _numbers_in_runs(group)
    doubling = np.frexp(place)[1].astype(np.int64)
    return np.where(place < LISTED, doubling, LISTED.bit_length() - 1 + place // LISTED)


def _in_blocks(members: Members, blocks: Rows) -> Iterator[Members]:
    """Yields the members of each block that is not negative, in order."""
    order = np.argsort(blocks[members.row], kind="stable")
    number = blocks[members.row][order]
    ends = np.searchsorted(number, np.arange(number.max(initial=-1) + 2))
    for first, last in itertools.pairwise(ends):
        yield members.chosen(order[first:last])


def _represent(stands: Rows, pages: Pairs, earlier: Pairs, similarity: Similarity) -> None:
    """Sets the first similar kept page of each page, which stands for it; pairs are in order."""
    possible = similarity.possible(pages, earlier)
    for page, kept in zip(pages[possible].tolist(), earlier[possible].tolist(), strict=True):
        undecided = stands[page] == page and stands[kept] == kept
        if undecided and similarity.similar(page, kept):
            stands[page] = kept


def _pairs_among(members: Members) -> tuple[Pairs, Pairs]:
    """Returns the pairs (page, earlier page) that share a key, each once, in order."""
    order = np.argsort(members.key, kind="stable")
    row, before = members.row[order], _numbers_in_runs(members.key[order])
    earlier = row[spans(np.arange(len(row)) - before, before)]
    return distinct_pairs(np.repeat(row, before), earlier)


def _numbers_in_runs(values: Shaped[np.ndarray, " rows"]) -> Rows:
    """Returns each value's index in its run of equal values."""
    first = is_first(values)
    return np.arange(len(values)) - np.repeat(np.flatnonzero(first), lengths_of(first))


def overlap(left: UInt64[np.ndarray, " left"], right: UInt64[np.ndarray, " right"]) -> int:
    """Returns the number of common elements of two sets."""
    both = np.sort(np.concatenate((left, right)))
    return int(np.count_nonzero(both[1:] == both[:-1]))


@overload
def common_needed(smaller: int, larger: int) -> int: ...


@overload
def common_needed(smaller: Pairs, larger: Pairs) -> Pairs: ...


def common_needed(smaller: Any, larger: Any) -> Any:
    """Returns how many common shingles make sets of these sizes similar, at least one.

    Common / (smaller + larger - common) >= a / b where common >= a / (a + b) of the sum.
    """
    (a, b), (c, d) = JACCARD, CONTAINED
    by_jaccard = -(-a * (smaller + larger) // (a + b))
    contained = -(-c * smaller // d)
    least = np.maximum(np.minimum(by_jaccard, contained), 1)
    return int(least) if isinstance(smaller, int) else least


def _bitmaps(
    shingles: UInt64[np.ndarray, " shingles"], offsets: Int64[np.ndarray, " pages_and_1"]
) -> UInt64[np.ndarray, "pages words"]:
    """Returns each page's bitmap."""
    count, shift = len(offsets) - 1, np.uint64(64 - (BITS - 1).bit_length())
    maps = np.empty((count, BITS // 8), np.uint8)
    for first in range(0, count, MAPPED):
        last = min(first + MAPPED, count)
        bits = np.zeros((last - first, BITS), bool)
        row = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        bits[row, shingles[offsets[first] : offsets[last]] >> shift] = True
        maps[first:last] = np.packbits(bits, axis=1)
    return maps.view(np.uint64)
