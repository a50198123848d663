import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.examples.schedule import BLOCK, make_schedule


def test_a_block_has_exactly_its_quotas():
    plan = make_schedule({"a": 0.5, "b": 0.3, "c": 0.2}, seed=7)
    drawn = plan.draw(np.arange(BLOCK)).languages
    counts = Counter(plan.languages[language] for language in drawn)
    assert counts == {"a": 32768, "b": 19661, "c": 13107}
    assert plan.share("a") == 0.5


def test_ordinals_of_a_language_are_each_used_once():
    plan = make_schedule({"a": 0.7, "b": 0.3}, seed=1)
    draws = plan.draw(np.arange(2 * BLOCK))
    for language in range(2):
        ordinals = draws.ordinals[draws.languages == language]
        assert ordinals.tolist() == list(range(len(ordinals)))


def test_each_seed_and_each_block_has_an_order_of_its_own():
    weights = {code: 1.0 for code in "abcdefgh"}
    one, other = (make_schedule(weights, seed).draw(np.arange(2 * BLOCK)) for seed in (1, 2))
    pairs = [
        (one.languages[:BLOCK], other.languages[:BLOCK]),
        (one.languages[:BLOCK], one.languages[BLOCK:]),
    ]
    for first, second in pairs:
        assert np.mean(first == second) == pytest.approx(1 / 8, abs=0.01)


def test_draws_look_random_from_the_first():
    plan = make_schedule({code: 1.0 for code in "abcdefgh"}, seed=0)
    first = plan.draw(np.arange(64)).languages.tolist()
    assert len(set(first)) == 8
    assert first != sorted(first)
    repeats = sum(a == b for a, b in itertools.pairwise(first))
    assert 2 <= repeats <= 18  # an interleave would have none; 8 are expected


@given(st.integers(0, 10**15), st.integers(0, 100))
@settings(max_examples=20)
def test_draws_of_large_indices_need_no_history(index, ahead):
    """Between two near indices each language's ordinals increase by one."""
    plan = make_schedule({"a": 1.0, "b": 2.0}, seed=3)
    draws = plan.draw(index + np.arange(ahead + 1))
    for language in range(2):
        ordinals = draws.ordinals[draws.languages == language].tolist()
        assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals)) if ordinals else [])


@given(st.lists(st.integers(0, 4 * BLOCK), min_size=1, max_size=20))
@settings(max_examples=20)
def test_a_draw_does_not_depend_on_the_others(indices):
    plan = make_schedule({"a": 1.0, "b": 2.0}, seed=3)
    together = plan.draw(np.array(indices))
    alone = [plan.draw(np.array([index])) for index in indices]
    assert together.languages.tolist() == [draw.languages[0] for draw in alone]
    assert together.ordinals.tolist() == [draw.ordinals[0] for draw in alone]


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": 1e-9}])
def test_unusable_weights(weights):
    with pytest.raises(DataError):
        make_schedule(weights, seed=0)
