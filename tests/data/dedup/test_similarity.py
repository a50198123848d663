"""Similarity and its filter, against sets and fractions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_choice import is_similar

from data.dedup import similarity
from data.dedup.candidates import HEADER, Candidates
from data.dedup.similarity import Similarity, common_needed, overlap
from data.splitmix64 import splitmix64

SETS = st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=5)


def candidates(sets):
    """Returns sets as pages, largest first, and the sets in this order."""
    arrays = [np.sort(splitmix64(np.array(sorted(one), np.uint64))) for one in sets]
    arrays.sort(key=len, reverse=True)
    headers = np.zeros(len(sets), HEADER)
    headers["shingles"] = list(map(len, arrays))
    return Candidates(headers, np.concatenate(arrays)), [set(one.tolist()) for one in arrays]


def pairs(count):
    larger, smaller = np.array(list(itertools.combinations(range(count), 2)), int).reshape(-1, 2).T
    return smaller, larger


@given(SETS)
def test_agrees_with_fractions(sets):
    pages, plain = candidates(sets)
    compare = Similarity(pages)
    for smaller, larger in zip(*(some.tolist() for some in pairs(len(sets))), strict=True):
        expected = is_similar(plain[smaller], plain[larger])
        assert compare.similar(smaller, larger) == expected


@given(SETS, st.sampled_from([64, 128, 2048]))
def test_the_filter_drops_no_similar_pair(sets, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BITS", bits)
        pages, plain = candidates(sets)
        smaller, larger = pairs(len(sets))
        possible = Similarity(pages).possible(smaller, larger)
    for maybe, one, other in zip(possible, smaller, larger, strict=True):
        assert maybe or not is_similar(plain[one], plain[other])


def test_the_filter_drops_most_pairs_below_the_threshold():
    base = np.arange(400)
    changed = [np.append(base[: 400 - k], 1000 * k + np.arange(k)) for k in range(40, 200, 4)]
    pages, plain = candidates([set(one.tolist()) for one in [base, *changed]])
    smaller, larger = pairs(len(plain))
    possible = Similarity(pages).possible(smaller, larger)
    true = [
        is_similar(plain[one], plain[other]) for one, other in zip(smaller, larger, strict=True)
    ]
    assert sum(true) <= possible.sum() < sum(true) + 0.1 * len(true)


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_overlap_is_the_size_of_the_intersection(one, other):
    arrays = [np.array(sorted(some), np.uint64) for some in (one, other)]
    assert overlap(*arrays) == len(one & other)


@pytest.mark.parametrize(
    "smaller, larger, needed", [(90, 90, 80), (9, 9, 8), (100, 1000, 95), (1, 1, 1), (0, 5, 1)]
)
def test_what_is_needed(smaller, larger, needed):
    assert common_needed(smaller, larger) == needed
    assert common_needed(np.array([smaller]), np.array([larger])).tolist() == [needed]
