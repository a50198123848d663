import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.permutation import permutation, permute


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_every_index_appears_once(size, seed):
    assert sorted(permutation(size, seed).tolist()) == list(range(size))


def test_seeds_give_unrelated_orders():
    first, second = permutation(5000, 1), permutation(5000, 2)
    assert np.mean(first == second) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.06


def test_large_sizes_cost_no_memory():
    assert 0 <= permute(np.array([10**15]), 2**60, 3)[0] < 2**60


def test_company_does_not_matter():
    alone = [permute(np.array([index]), 1000, 7)[0] for index in (5, 999, 0)]
    assert permute(np.array([5, 999, 0]), 1000, 7).tolist() == alone


def test_outside_is_an_error():
    with pytest.raises(ValueError, match="not all in"):
        permute(np.array([0, 5]), 5, 0)
