"""Equal numbers of arrays, against Python's lists and sets."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.numbers import (
    distinct,
    distinct_pairs,
    has_equal,
    hash_seed,
    hash_seeds,
    is_among,
    is_first,
    lengths_of,
    repeated_numbers,
    splitmix64,
)


def test_outputs_of_the_published_generator_with_seed_0():
    states = np.uint64(0x9E3779B97F4A7C15) * np.arange(1, 4, dtype=np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(states).tolist() == expected


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)))


def columns(pairs):
    return np.array(pairs, np.uint32).reshape(-1, 2).T


@given(st.lists(st.integers(0, 5)))
def test_numbers_that_occur_twice(numbers):
    found = np.array(numbers, np.uint32)
    twice = sorted({one for one in numbers if numbers.count(one) > 1})
    assert repeated_numbers(found).tolist() == twice
    assert distinct(found).tolist() == sorted({*numbers})
    assert has_equal(found).tolist() == [one in twice for one in numbers]
    assert is_among(found, repeated_numbers(found)).tolist() == has_equal(found).tolist()


@given(PAIRS)
def test_each_pair_once(pairs):
    assert list(zip(*distinct_pairs(*columns(pairs)), strict=True)) == sorted({*pairs})


@given(PAIRS)
def test_first_rows_and_how_many_equal_ones_follow(rows):
    groups = [list(group) for _, group in itertools.groupby(rows)]
    first = is_first(*columns(rows))
    assert first.tolist() == [at == 0 for group in groups for at in range(len(group))]
    assert lengths_of(first).tolist() == [len(group) for group in groups]


def test_many_seeds_are_those_of_each_tuple_and_single_numbers_are_broadcast():
    parts = np.arange(100)
    seeds = hash_seeds(7, parts, 3).tolist()
    assert seeds == [hash_seed(7, part, 3) for part in range(100)]
    assert len(set(seeds)) == 100


def test_the_order_of_numbers_counts():
    assert hash_seed(1, 2) != hash_seed(2, 1)
    assert hash_seed(0) != hash_seed(0, 0)
