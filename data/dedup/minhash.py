"""MinHash: pages with mostly the same shingles share a band key; pages joined by keys are a group.

**Keys.** The parameters are FineWeb2's (`fineweb-2-pipeline.py`, datatrove's `MinhashConfig`):
shingles of 5 words, 112 minima in 14 bands of 8, pages of one language only. Two pages whose
shingles have the Jaccard similarity s share a key with probability 1 - (1 - s^8)^14: 0.21 at 0.6,
0.56 at 0.7, 0.92 at 0.8.

Words are those of `hashed_words`. Where spaces do not separate words, datatrove has a segmenter per
language; here a shingle is the number of characters with the content of 5 English words (5.98
characters each): 9 in Chinese, 15 in Japanese, 30 in Thai, Lao, Khmer and Burmese. Changing one
word of W then changes 5/W of the shingles in English and 5 to 6/W in Thai. Shingles of 5
characters, one word in Thai, would make unrelated pages similar.

`rensa` computes the minima (Fast Similarity Sketching, Dahlgaard et al. 2017, all shingles, 32 bits
per minimum). It takes 4 microseconds for a page of 2,000 words, and on short pages it is closer to
the formula than independent minima are. Of 5 billion pages, 130 pairs would share a key by chance.

**Edges.** A page is a unique number; the smallest number among pages with one key represents them,
and an edge leads from it to each other. Each partition of the keys yields its edges independently.
The union of all edges has the same connected components, whatever the partitioning and the order.
Only pages that share a key appear: memory grows with the duplicates, 16 bytes per edge.

**Components** are found in rounds of local contraction: Łącki, Mirrokni and Włodarczyk 2018,
"Connected Components at Scale via Local Contractions" (arXiv 1807.10727). In a round every node
goes to the first node of its neighbourhood, itself included, in an order of that round. Edges are
then drawn between the nodes to which their ends went, and the nodes to which nobody went are gone.
A constant part of them is gone per round, so the rounds grow with the logarithm of the component,
also on a chain.

    partition of edges     proposals(edges, round)      each node once, with its first neighbour
    partition of nodes     pointers(proposals, round)   the first over all partitions of edges
    partition of edges     contracted(edges, pointers)  edges of the next round
    holder of pages        moved(labels, pointers)      where its pages are now

Only proposals and pointers travel, 16 bytes each. Edges and labels stay where they are, so memory
per partition does not grow: a partition has never more edges than at first, and a node of any
degree is proposed at most once by each. A page begins as its own label. Without edges the labels
are those of the components, which do not depend on the partitions.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import rensa
from jaxtyping import UInt32, UInt64

from data.dedup.hashed_words import hashed_words, span_hashes, text_chunks, units_of_words
from data.numbers import distinct_pairs, is_first, lengths_of, splitmix64

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SEED = 1


Edges = UInt64[np.ndarray, "edges 2"]
Nodes = UInt64[np.ndarray, " nodes"]


class Shingles(NamedTuple):
    """The hashed shingles of pages, one page after the other.

    Attributes:
        hashes: hashes of all shingles.
        offsets: index of each page's first shingle, and the number of shingles.
    """

    hashes: UInt64[np.ndarray, " hashes"]
    offsets: UInt64[np.ndarray, " pages_and_1"]


def band_keys(texts: Sequence[str], language: str) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the key of each band of each page; pages that share a key are near-duplicates.

    Different languages and different bands never share keys. A page of fewer than 5 words is
    compared as a whole; pages without words are all equal.

    Args:
        texts: texts of pages of one language.
        language: code of the language; spaces separate words in "und" and in languages that are
            not mC4's.
    """
    length = shingle_length(language)
    keys = [
        keys_from_shingles(shingles_of(chunk, length), language) for chunk in text_chunks(texts)
    ]
    return np.concatenate([np.empty((0, BANDS), np.uint64), *keys])


def shingle_length(language: str) -> int:
    """Returns the length of a shingle: words, or characters where spaces do not separate words."""
    return units_of_words(SHINGLE_WORDS, language)


def shingles_of(texts: Sequence[str], length: int) -> Shingles:
    """Returns the hashed shingles of `length` words, page by page, repeats included."""
    words, offsets = hashed_words(texts)
    counts = np.diff(offsets)
    shingles = np.maximum(counts - length + 1, np.minimum(counts, 1))
    ends = np.cumsum(shingles)
    page = np.repeat(np.arange(len(texts)), shingles)
    first = np.arange(len(page)) - (ends - shingles)[page] + offsets[:-1][page]
    last = np.minimum(first + length, offsets[1:][page])
    hashes = splitmix64(span_hashes(words, first, last))
    return Shingles(hashes, np.concatenate(([0], ends)).astype(np.uint64))


def _minima(shingles: Shingles) -> UInt32[np.ndarray, "pages 112"]:
    minhash = rensa.RMinHash  # pyright: ignore[reportAttributeAccessIssue]: a compiled module
    matrix = minhash.digest_matrix_from_flat_token_hashes(*shingles, BANDS * ROWS, SEED)
    return np.array(matrix.to_rows(), np.uint32)


def keys_from_shingles(shingles: Shingles, language: str) -> UInt64[np.ndarray, "pages 14"]:
    """Returns the key of each band of each page from its shingles, in any order and number."""
    minima = np.ascontiguousarray(_minima(shingles), "<u4")
    rows = minima.view("<u8").reshape(len(minima), BANDS, ROWS // 2)
    start = hashlib.md5(language.encode(), usedforsecurity=False).digest()[:8]
    keys = splitmix64(np.arange(BANDS, dtype=np.uint64) + np.frombuffer(start, "<u8"))
    keys = np.broadcast_to(keys, rows.shape[:2])
    for pair in range(ROWS // 2):
        keys = splitmix64(keys ^ rows[..., pair])
    return keys


def edges(keys: UInt64[np.ndarray, " entries"], pages: UInt64[np.ndarray, " entries"]) -> Edges:
    """Returns (page, smallest page with the same key), each pair once, in order.

    Args:
        keys: keys of one partition, which must hold all entries of each of its keys.
        pages: page number of each key.
    """
    order = np.lexsort((pages, keys))
    keys, pages = keys[order], pages[order]
    first = is_first(keys)
    smallest = np.repeat(pages[first], lengths_of(first))
    linked = pages != smallest
    return np.stack(distinct_pairs(pages[linked], smallest[linked]), axis=1)


class Moves(NamedTuple):
    """Nodes in ascending order, and where each goes.

    Attributes:
        node: a node, once.
        to: the first node of its neighbourhood, or of the part that was seen.
    """

    node: Nodes
    to: Nodes


def proposals(edges: Edges, number: int) -> Moves:
    """Returns each node of a partition's edges, with the first of its neighbours and itself.

    Args:
        edges: pairs of nodes, in any order.
        number: number of the round, which decides the order.
    """
    left, right = edges.T
    node = np.concatenate((left, right, left, right))
    to = np.concatenate((right, left, left, right))
    return _first_moves(node, to, number)


def pointers(parts: Sequence[Moves], number: int) -> Moves:
    """Returns where each node goes, from the proposals of all partitions of edges.

    Args:
        parts: proposals for the nodes of one partition of nodes.
        number: number of the round.
    """
    none = np.empty(0, np.uint64)
    node, to = map(np.concatenate, zip((none, none), *parts, strict=True))
    return _first_moves(node, to, number)


def contract_edges(edges: Edges, moves: Moves) -> UInt64[np.ndarray, "fewer 2"]:
    """Returns the edges between the nodes to which ends went, each once, without loops.

    Args:
        edges: pairs of nodes.
        moves: pointers of all their nodes.
    """
    ends = np.sort(move_labels(edges, moves), axis=1)
    low, high = ends[ends[:, 0] != ends[:, 1]].T
    return np.stack(distinct_pairs(low, high), axis=1)


def move_labels(labels: UInt64[np.ndarray, "*shape"], moves: Moves) -> UInt64[np.ndarray, "*shape"]:
    """Returns the nodes to which labels went; the label of a finished component stays."""
    if not len(moves.node):
        return labels
    at = np.minimum(np.searchsorted(moves.node, labels), len(moves.node) - 1)
    return np.where(moves.node[at] == labels, moves.to[at], labels)


def _first_moves(node: Nodes, to: Nodes, number: int) -> Moves:
    """Returns each node once, with the first of its `to` in the order of the round."""
    # A bijection of 64 bits: no two nodes have the same rank.
    rank = splitmix64(to ^ splitmix64(np.array([number + 1], np.uint64)))
    order = np.argsort(node)
    node, to, rank = node[order], to[order], rank[order]
    if len(node):
        first = is_first(node)
        least = np.minimum.reduceat(rank, np.flatnonzero(first))
        chosen = rank == np.repeat(least, lengths_of(first))
        node, to = node[chosen], to[chosen]
    once = is_first(node)
    return Moves(node[once], to[once])
