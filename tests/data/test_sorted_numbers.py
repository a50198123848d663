"""Equal numbers of arrays, against Python's lists and sets."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.sorted_numbers import (
    distinct,
    distinct_pairs,
    has_equal,
    is_among,
    is_first,
    lengths_of,
    repeated,
)

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)))


def columns(pairs):
    return np.array(pairs, np.uint32).reshape(-1, 2).T


@given(st.lists(st.integers(0, 5)))
def test_numbers_that_occur_twice(numbers):
    found = np.array(numbers, np.uint32)
    twice = sorted({one for one in numbers if numbers.count(one) > 1})
    assert repeated(found).tolist() == twice
    assert distinct(found).tolist() == sorted({*numbers})
    assert has_equal(found).tolist() == [one in twice for one in numbers]
    assert is_among(found, repeated(found)).tolist() == has_equal(found).tolist()


@given(PAIRS)
def test_each_pair_once(pairs):
    assert list(zip(*distinct_pairs(*columns(pairs)), strict=True)) == sorted({*pairs})


@given(PAIRS)
def test_first_rows_and_how_many_equal_ones_follow(rows):
    groups = [list(group) for _, group in itertools.groupby(rows)]
    first = is_first(*columns(rows))
    assert first.tolist() == [at == 0 for group in groups for at in range(len(group))]
    assert lengths_of(first).tolist() == [len(group) for group in groups]
