"""Candidates: pages that share a MinHash band with another page, with what decides between them.

A candidate carries the set of its shingles (`minhash.shingles_of`, each hash once), so that its
similarity to another page is exact, and what orders the pages of a group (`representatives`). Many
pages travel as one value: 56 bytes per page and 8 per distinct shingle.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import Int64, Integer, Shaped, UInt64

from data.dedup.hashed_words import chunks_of
from data.dedup.minhash import Shingles, shingle_length, shingles_of
from data.sorted_numbers import distinct

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
