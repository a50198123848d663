import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.examples.permutation import permute


def permutation(size: int, seed: int) -> np.ndarray:
    """The whole permutation."""
    return permute(np.arange(size), np.full(size, size), np.full(size, seed, np.uint64))


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_every_index_appears_once(size, seed):
    assert sorted(permutation(size, seed).tolist()) == list(range(size))


def test_seeds_give_unrelated_orders():
    first, second = permutation(5000, 1), permutation(5000, 2)
    assert np.mean(first == second) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.06


def one(index: int, size: int, seed: int) -> int:
    return int(permute(np.array([index]), np.array([size]), np.array([seed], np.uint64))[0])


def test_large_sizes_cost_no_memory():
    assert 0 <= one(10**15, 2**60, 3) < 2**60


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 2**64 - 1)), min_size=1))
def test_an_element_does_not_depend_on_the_others(asked):
    sizes = np.array([size for size, _ in asked])
    seeds = np.array([seed for _, seed in asked], np.uint64)
    indices = np.array([size // 3 for size in sizes.tolist()])
    together = permute(indices, sizes, seeds)
    alone = [one(index, *each) for index, each in zip(indices.tolist(), asked, strict=True)]
    assert together.tolist() == alone


def test_outside_is_an_error():
    with pytest.raises(ValueError, match="not all in"):
        one(5, 5, 0)
