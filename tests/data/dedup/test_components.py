"""Rounds of contraction against SciPy's connected components."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.dedup.components import Moves, contracted, moved, pointers, proposals
from data.splitmix64 import splitmix64

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


def in_rounds(parts, holders=3, most=100):
    """Returns all nodes, their labels, and the edges in each partition before each round."""
    nodes = np.unique(np.concatenate(parts))
    labels, sizes = nodes, [list(map(len, parts))]
    while any(sizes[-1]):
        assert len(sizes) <= most
        number = len(sizes)
        proposed = [proposals(part, number) for part in parts]
        moves = [
            pointers([of_holder(one, holder, holders) for one in proposed], number)
            for holder in range(holders)
        ]
        known = [only(moves, one.node) for one in proposed]
        parts = [contracted(part, some) for part, some in zip(parts, known, strict=True)]
        labels = moved(labels, only(moves, np.unique(labels)))
        sizes.append(list(map(len, parts)))
    return nodes, labels, sizes


def of_holder(moves, holder, holders):
    mine = moves.node % np.uint64(holders) == holder
    return Moves(moves.node[mine], moves.to[mine])


def only(parts, nodes):
    """Returns the pointers of some nodes, as they are sent to who asked for them."""
    node, to = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(node)
    order = order[np.isin(node[order], nodes)]
    return Moves(node[order], to[order])


def scipys(pairs, nodes):
    ends = np.searchsorted(nodes, pairs)
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(len(nodes), len(nodes)))
    return connected_components(graph, directed=False)[1]


def same_parts(one, other):
    both = len(np.unique(np.stack((one, other)), axis=1).T)
    return both == len(np.unique(one)) == len(np.unique(other))


def array(pairs):
    return splitmix64(np.array(pairs, np.uint64).reshape(-1, 2))


@given(PAIRS, st.integers(1, 4), st.integers(1, 4))
def test_labels_are_those_of_the_components(pairs, partitions, holders):
    pairs = array(pairs)
    nodes, labels, _ = in_rounds([pairs[i::partitions] for i in range(partitions)], holders)
    assert same_parts(labels.astype(np.int64), scipys(pairs, nodes))
    assert np.isin(labels, nodes).all()


@given(PAIRS, st.integers(1, 4))
def test_labels_do_not_depend_on_the_partitions(pairs, partitions):
    at_once = in_rounds([array(pairs)])
    in_parts = in_rounds([array(pairs)[i::partitions] for i in range(partitions)], 2)
    np.testing.assert_array_equal(at_once[1], in_parts[1])


def chain(count):
    return np.stack((np.arange(count - 1), np.arange(1, count)), axis=1)


def star(count):
    return np.stack((np.zeros(count - 1, int), np.arange(1, count)), axis=1)


def random_graph(count):
    return np.random.default_rng(1).integers(0, count, (count // 2, 2))


@pytest.mark.parametrize("shape", [chain, star, random_graph])
@pytest.mark.parametrize("ordered", [True, False])
def test_rounds_are_few_and_partitions_do_not_grow(shape, ordered):
    pairs = shape(20_000).astype(np.uint64)
    pairs = pairs if ordered else splitmix64(pairs)
    parts = [pairs[i::5] for i in range(5)]
    nodes, labels, sizes = in_rounds(parts)
    assert same_parts(labels, scipys(pairs, nodes).astype(np.uint64))
    # About half of a chain's nodes are left by each round; 2^14 < 20,000 < 2^15.
    assert len(sizes) <= 20
    assert all(
        after <= before
        for one in zip(*sizes, strict=True)
        for before, after in itertools.pairwise(one)
    )


def test_a_node_of_any_degree_is_proposed_once():
    assert len(proposals(array(star(500)), 0).node) == 500
