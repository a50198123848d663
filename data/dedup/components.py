"""Connected components in rounds of local contraction, each a grouping by page number.

Łącki, Mirrokni and Włodarczyk 2018, "Connected Components at Scale via Local Contractions"
(arXiv 1807.10727). In a round every node goes to the first node of its neighbourhood, itself
included, in an order of that round. Edges are then drawn between the nodes to which their ends
went, and the nodes to which nobody went are gone. A constant part of them is gone per round, so
the rounds grow with the logarithm of the component, also on a chain.

    partition of edges     proposals(edges, round)      each node once, with its first neighbour
    partition of nodes     pointers(proposals, round)   the first over all partitions of edges
    partition of edges     contracted(edges, pointers)  edges of the next round
    holder of pages        moved(labels, pointers)      where its pages are now

Only proposals and pointers travel, 16 bytes each. Edges and labels stay where they are, so memory
per partition does not grow: a partition has never more edges than at first, and a node of any
degree is proposed at most once by each. A page begins as its own label. Without edges the labels
are those of the components, which do not depend on the partitions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from data.dedup.edges import Edges
from data.sorted_numbers import distinct_pairs, is_first, lengths_of
from data.splitmix64 import splitmix64

Nodes = UInt64[np.ndarray, " nodes"]


class Moves(NamedTuple):
    """Nodes in ascending order, and where each goes.

    Attributes:
        node: a node, once.
        to: the first node of its neighbourhood, or of the part that was seen.
    """

    node: Nodes
    to: Nodes


def proposals(edges: Edges, number: int) -> Moves:
    """Returns the nodes of a partition's edges and the first of each one's neighbours and itself.

    Args:
        edges: pairs of nodes, in any order.
        number: number of the round, which decides the order.
    """
    one, other = edges.T
    node = np.concatenate((one, other, one, other))
    to = np.concatenate((other, one, one, other))
    return _first(node, to, number)


def pointers(parts: Sequence[Moves], number: int) -> Moves:
    """Returns where each node goes, from the proposals of all partitions of edges.

    Args:
        parts: proposals for the nodes of one partition of nodes.
        number: number of the round.
    """
    none = np.empty(0, np.uint64)
    node = np.concatenate([none, *(part.node for part in parts)])
    return _first(node, np.concatenate([none, *(part.to for part in parts)]), number)


def contracted(edges: Edges, moves: Moves) -> UInt64[np.ndarray, "fewer 2"]:
    """Returns the edges between the nodes to which ends went, each once, without loops.

    Args:
        edges: pairs of nodes.
        moves: pointers of all their nodes.
    """
    one, other = moved(edges, moves).T
    low, high = np.minimum(one, other), np.maximum(one, other)
    low, high = low[low != high], high[low != high]
    return np.stack(distinct_pairs(low, high), axis=1)


def moved(labels: UInt64[np.ndarray, "*some"], moves: Moves) -> UInt64[np.ndarray, "*some"]:
    """Returns where labels went; one without a pointer is that of a finished component."""
    if not len(moves.node):
        return labels
    at = np.minimum(np.searchsorted(moves.node, labels), len(moves.node) - 1)
    return np.where(moves.node[at] == labels, moves.to[at], labels)


def _first(node: Nodes, to: Nodes, number: int) -> Moves:
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
