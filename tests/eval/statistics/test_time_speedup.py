"""Ratios of step times and time speed-ups: plain definition, symmetry, the null and coverage."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.statistics.standard_error import StandardError
from eval.statistics.time_speedup import LogRatio, step_time_ratio, time_speedup

ROUNDS = 20
seconds = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30)
pairs = seconds.flatmap(
    lambda one: st.tuples(
        st.just(one), st.lists(st.floats(1e-3, 1e3), min_size=len(one), max_size=len(one))
    )
).map(lambda both: tuple(map(np.array, both)))


@given(pairs)
def test_is_the_plain_t_interval_of_the_logarithms(sides):
    logs = [math.log(one / other) for one, other in zip(*sides, strict=True)]
    mean, spread = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = stats.t.ppf(0.975, len(logs) - 1) * spread
    found = step_time_ratio(*sides)
    expected = [math.exp(mean + sign * half) for sign in (-1, 1)]
    assert found.ratio == pytest.approx(math.exp(mean))
    assert found.ends == pytest.approx(expected, rel=1e-6)


@given(pairs)
def test_exchanged_sides_give_the_reciprocal(sides):
    there, back = step_time_ratio(*sides), step_time_ratio(*reversed(sides))
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.ends == pytest.approx([1 / end for end in reversed(back.ends)])


def test_equal_seconds_are_exactly_one_with_an_interval_of_no_length():
    same = np.array([0.4, 0.7, 0.5])
    found = step_time_ratio(same, same)
    assert (found.ratio, found.ends) == (1.0, (1.0, 1.0))
    steps = LogRatio(math.log(1.5), StandardError(0.01, 7.0))
    product = time_speedup(steps, found)
    assert product.ratio == pytest.approx(steps.ratio)
    assert product.ends == pytest.approx(steps.ends)


def test_a_step_speedup_without_interval_gives_a_time_speedup_without_one():
    times = step_time_ratio(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    found = time_speedup(LogRatio(math.log(3), None), times)
    assert found.ratio == pytest.approx(3 * times.ratio)
    assert found.ends == (None, None)


def test_variances_add_up_and_the_interval_is_wider_than_of_each():
    steps = LogRatio(0.1, StandardError(0.004, 30.0))
    times = LogRatio(0.2, StandardError(0.003, 19.0))
    found = time_speedup(steps, times)
    assert found.log == pytest.approx(0.3)
    assert found.error.variance == pytest.approx(0.007)
    assert 19 < found.error.degrees_of_freedom < 19 + 30
    swapped = time_speedup(times, steps)
    assert (swapped.log, swapped.error.variance) == pytest.approx((0.3, 0.007))


def drawn_rounds(rng: np.random.Generator, log_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds on a machine that slows both sides of a round alike, and each a little by itself."""
    both = rng.exponential(0.5, ROUNDS) + rng.choice([0.0, 1.0], ROUNDS, p=[0.8, 0.2])
    ours, theirs = rng.gamma(4, 0.01, (2, ROUNDS))
    return np.exp(both + ours + log_ratio), np.exp(both + theirs)


@pytest.mark.parametrize("planted", [1.0, 0.7, 3.0])
def test_the_interval_of_the_ratio_covers(planted):
    covered = 0
    for seed in range(2000):
        rounds = drawn_rounds(np.random.default_rng(seed), math.log(planted))
        low, high = step_time_ratio(*rounds).ends
        covered += low <= planted <= high
    assert 0.94 < covered / 2000 < 0.96


@pytest.mark.parametrize(
    ("freedom", "of_steps", "of_rounds"),
    [*itertools.product([30.0], [0.002, 0.02], [0.002, 0.02]), (2.0, 0.01, 0.01)],
)
def test_the_interval_of_the_time_speedup_covers(freedom, of_steps, of_rounds):
    """The step speed-up's error is normal, and its variance a scaled chi-squared."""
    rng, covered, truth = np.random.default_rng(1), 0, math.log(1.5 * 0.8)
    for _ in range(1000):
        variance = of_steps * rng.chisquare(freedom) / freedom
        steps = LogRatio(
            math.log(1.5) + rng.normal(0, of_steps**0.5), StandardError(variance, freedom)
        )
        logs = math.log(0.8) + rng.normal(0, (of_rounds * ROUNDS) ** 0.5, ROUNDS)
        low, high = time_speedup(steps, step_time_ratio(np.exp(logs), np.ones(ROUNDS))).ends
        covered += low <= math.exp(truth) <= high
    assert 0.93 <= covered / 1000 <= 0.98
