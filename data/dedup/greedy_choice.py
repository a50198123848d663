"""The greedy choice among candidate pages in memory: a page stays unless a kept one is similar.

Pages come in the order of the choice. Each is compared with the pages of its keys that are kept
already. In a group of at most 64 pages the group is the only key, so a page is compared with every
kept page. In a larger group the keys are the MinHash bands, and a key lists no more kept pages once
it has 64. Whatever is not compared stays: no limit here removes a page.

Blocks of 1, 1, 2, 4, ... and at last 64 pages of every group are taken at once: first compared with
the kept pages of earlier blocks, then among themselves. Ten copies of a page cost nine comparisons
and a few, not 45, and NumPy works on all groups together.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped, UInt64

from data.dedup.candidates import Candidates, chosen, spans
from data.dedup.minhash import BANDS, Shingles, keys_of
from data.dedup.similarity import Similarity
from data.sorted_numbers import distinct_pairs, is_first, lengths_of
from data.splitmix64 import splitmix64

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
