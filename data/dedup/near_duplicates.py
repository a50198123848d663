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

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

import numpy as np
import xxhash
from jaxtyping import Bool, Int64, Integer, Shaped, UInt64

from data.dedup.hashed_words import chunks_of
from data.dedup.minhash import BANDS, Shingles, keys_of, shingle_length, shingles_of
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
Numbers = UInt64[np.ndarray, " pages"]


class Candidates(NamedTuple):
    """Pages with the sets of their shingles, one page after the other.

    Attributes:
        headers: per page, as `HEADER`: number of its group and of the page, rank of its address,
            digest of its shingles in two halves, number of characters and of distinct shingles.
        shingles: hashes of the distinct shingles, ascending within a page.
    """

    headers: np.ndarray
    shingles: UInt64[np.ndarray, " shingles"]

    @property
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
    length = shingle_length(language)
    found = joined(
        candidates_from(shingles_of(some, length), [len(text) for text in some])
        for some in chunks_of(texts)
    )
    headers = found.headers
    headers["group"], headers["page"], headers["address"] = groups, pages, addresses
    return found


def candidates_from(shingles: Shingles, characters: Sequence[int]) -> Candidates:
    """Returns pages as candidates from shingles that are known; group, page and address are 0.

    Args:
        shingles: shingles of the pages, which are sorted in place.
        characters: number of characters of each page.
    """
    ends = shingles.offsets.astype(np.int64).tolist()
    sets = [distinct(shingles.hashes[first:last]) for first, last in itertools.pairwise(ends)]
    headers = np.zeros(len(sets), HEADER)
    headers["characters"], headers["shingles"] = characters, list(map(len, sets))
    digests = b"".join(xxhash.xxh3_128_digest(one.data) for one in sets)
    headers["first"], headers["second"] = np.frombuffer(digests, "<u8").reshape(-1, 2).T
    return Candidates(headers, _concatenated(sets))


def packed(candidates: Candidates) -> bytes:
    """Returns pages as one value: their number, their headers, their shingles."""
    count = np.array([len(candidates.headers)], "<u8")
    parts = (count, candidates.headers, candidates.shingles.astype("<u8", copy=False))
    return b"".join(part.tobytes() for part in parts)


def unpacked(element: bytes) -> Candidates:
    """Returns the pages of a value, without a copy."""
    headers = headers_of(element)
    begin = 8 + headers.nbytes
    return Candidates(headers, np.frombuffer(element, "<u8", offset=begin))


def headers_of(element: bytes) -> Shaped[np.ndarray, " pages"]:
    """Returns the headers of a value's pages."""
    return np.frombuffer(element, HEADER, int.from_bytes(element[:8], "little"), 8)


def chosen(candidates: Candidates, rows: Int64[np.ndarray, " rows"]) -> Candidates:
    """Returns some of the pages, in the order of `rows`."""
    headers, begins = candidates.headers[rows], candidates.offsets[rows]
    return Candidates(headers, candidates.shingles[spans(begins, headers["shingles"])])


def joined(parts: Iterable[Candidates]) -> Candidates:
    """Returns the pages of all parts, in order."""
    parts = list(parts)
    headers = [part.headers for part in parts]
    return Candidates(
        np.concatenate([np.empty(0, HEADER), *headers]),
        _concatenated([part.shingles for part in parts]),
    )


def spans(
    begins: Int64[np.ndarray, " spans"], lengths: Integer[np.ndarray, " spans"]
) -> Int64[np.ndarray, " indices"]:
    """Returns the indices of all spans, one span after the other."""
    lengths = lengths.astype(np.int64)
    shift = begins - np.cumsum(lengths) + lengths
    return np.arange(lengths.sum()) + np.repeat(shift, lengths)


def _concatenated(sets: Sequence[np.ndarray]) -> UInt64[np.ndarray, " shingles"]:
    return np.concatenate([np.empty(0, np.uint64), *sets])


JACCARD = (4, 5)
CONTAINED = (19, 20)
BITS = 2048
FILTERED = 1 << 15  # pairs that are filtered at once: 16 MB
MAPPED = 1 << 12  # pages whose bitmaps are made at once: 8 MB

Bitmaps = UInt64[np.ndarray, "pages words"]
PairRows = Int64[np.ndarray, " pairs"]


class Similarity:
    """Compares pages with each other, given by their rows.

    Of a pair, `smaller` is the page with fewer distinct shingles, or one of two with as many.
    """

    def __init__(self, pages: Candidates) -> None:
        self._shingles = pages.shingles
        self._ends = pages.offsets
        self._sizes = np.diff(self._ends)
        self._maps = _bitmaps(pages.shingles, self._ends)

    def possible(self, smaller: PairRows, larger: PairRows) -> Bool[np.ndarray, " pairs"]:
        """Returns which pairs may be similar, by their sizes and bitmaps."""
        found = np.empty(len(smaller), bool)
        for first in range(0, len(smaller), FILTERED):
            some = slice(first, first + FILTERED)
            one, other = smaller[some], larger[some]
            found[some] = common_needed(self._sizes[one], self._sizes[other]) <= self._at_most(
                one, other
            )
        return found

    def similar(self, smaller: int, larger: int) -> bool:
        """Returns whether a pair is similar."""
        one, other = self._set(smaller), self._set(larger)
        return overlap(one, other) >= common_needed(len(one), len(other))

    def _set(self, row: int) -> UInt64[np.ndarray, " shingles"]:
        return self._shingles[self._ends[row] : self._ends[row + 1]]

    def _at_most(self, smaller: PairRows, larger: PairRows) -> PairRows:
        """Returns an upper bound of the number of common shingles."""
        one, other = self._maps[smaller], self._maps[larger]
        only_one = np.bitwise_count(one & ~other).sum(axis=1, dtype=np.int64)
        only_other = np.bitwise_count(other & ~one).sum(axis=1, dtype=np.int64)
        return np.minimum(self._sizes[smaller] - only_one, self._sizes[larger] - only_other)


def overlap(one: UInt64[np.ndarray, " one"], other: UInt64[np.ndarray, " other"]) -> int:
    """Returns the number of common elements of two sets."""
    both = np.concatenate((one, other))
    both.sort()
    return int(np.count_nonzero(both[1:] == both[:-1]))


@overload
def common_needed(smaller: int, larger: int) -> int: ...


@overload
def common_needed(smaller: PairRows, larger: PairRows) -> PairRows: ...


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
) -> Bitmaps:
    count, shift = len(offsets) - 1, np.uint64(64 - (BITS - 1).bit_length())
    maps = np.empty((count, BITS // 8), np.uint8)
    for first in range(0, count, MAPPED):
        last = min(first + MAPPED, count)
        bits = np.zeros((last - first, BITS), bool)
        row = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        bits[row, shingles[offsets[first] : offsets[last]] >> shift] = True
        maps[first:last] = np.packbits(bits, axis=1)
    return maps.view(np.uint64)


LISTED = 64  # kept pages that a key lists, pages of a block, pages of a group without other keys

Rows = Int64[np.ndarray, " rows"]
Pairs = Int64[np.ndarray, " pairs"]


class Members(NamedTuple):
    """The keys of pages, sorted by page.

    Attributes:
        row: row of a page.
        key: one of its keys, numbered from 0.
    """

    row: Rows
    key: Rows

    def of(self, which: Shaped[np.ndarray, " some"]) -> "Members":
        """Returns some of the members, by a mask or by indices."""
        return Members(self.row[which], self.key[which])


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
        return members.of(self._counts[members.key] < LISTED)

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
        some = (members.row >= first) & (members.row < min(first + LISTED, already_kept))
        kept.add(kept.open(members.of(some)))
    for block in _in_blocks(members, blocks):
        _represent(stands, *kept.pairs(block), similarity)
        undecided = kept.open(block.of(stands[block.row] == block.row))
        _represent(stands, *_pairs_among(undecided), similarity)
        kept.add(undecided.of(stands[undecided.row] == undecided.row))
    return stands


def _represent(stands: Rows, page: Pairs, earlier: Pairs, similarity: Similarity) -> None:
    """Finds the first similar kept page of each page, which stands for it; pairs are in order."""
    maybe = similarity.possible(page, earlier)
    for one, other in zip(page[maybe].tolist(), earlier[maybe].tolist(), strict=True):
        undecided = stands[one] == one and stands[other] == other
        if undecided and similarity.similar(one, other):
            stands[one] = other


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
    keys = keys_of(Shingles(pages.shingles, pages.offsets.astype(np.uint64)), "")
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
        yield members.of(order[first:last])


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


PART_SHINGLES = 1 << 22  # 32 MB
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
        elements: `packed` pages, with all pages of each group; iterated twice.
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
