"""Bootstrap intervals and p-values, against a plain bootstrap, by hand and by simulation."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from eval import intervals


def slow_gains(baseline, candidate, tokens, resamples=4000):
    """Returns gains by the plain bootstrap, one resample at a time."""
    rng = np.random.default_rng(7)
    gains = []
    for _ in range(resamples):
        pages = rng.integers(len(tokens), size=len(tokens))
        sides = []
        for runs in (baseline, candidate):
            drawn = rng.integers(len(runs), size=len(runs))
            sides.append(np.mean([runs[run][pages].sum() for run in drawn]))
        gains.append((sides[0] - sides[1]) / tokens[pages].sum())
    return np.array(gains)


def scores(baseline, candidate, tokens):
    return intervals.Scores(baseline, tokens), intervals.Scores(candidate, tokens)


def gain_interval(*sides):
    return intervals.gain_interval(*scores(*sides))


def synthetic(runs=1, pages=40, gain=0.1, seed=0, run_spread=0.02):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 300, pages)
    level = rng.normal(3.0, 0.5, pages)
    noise = [
        rng.normal(0, 0.1, (runs, pages)) + rng.normal(0, run_spread, (runs, 1)) for _ in range(2)
    ]
    return (level + noise[0]) * tokens, (level - gain + noise[1]) * tokens, tokens


@pytest.mark.parametrize("runs", [1, 3])
def test_agrees_with_a_slow_bootstrap(runs):
    sides = synthetic(runs)
    slow = slow_gains(*sides)
    fast = intervals.resampled_gains(*scores(*sides))
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.002)
    assert fast.std() == pytest.approx(slow.std(), rel=0.08)
    np.testing.assert_allclose(
        np.quantile(fast, [0.025, 0.975]), np.quantile(slow, [0.025, 0.975]), atol=0.006
    )


def test_batches_make_no_difference(monkeypatch):
    sides = synthetic()
    whole = intervals.resampled_gains(*scores(*sides))
    monkeypatch.setattr(intervals, "_CELLS", 40 * 7)
    np.testing.assert_allclose(
        intervals.resampled_gains(*scores(*sides)).std(), whole.std(), rtol=0.1
    )
    assert len(intervals.resampled_gains(*scores(*sides))) == intervals.RESAMPLES


def test_is_paired_so_hard_pages_cancel():
    baseline, candidate, tokens = synthetic(gain=0.1)
    found = gain_interval(baseline, candidate, tokens)
    assert 0.02 < found.low < 0.1 < found.high < 0.18
    assert found.p_value < 1e-3


def test_sides_exchanged_change_the_sign_only():
    baseline, candidate, tokens = synthetic()
    one = gain_interval(baseline, candidate, tokens)
    other = gain_interval(candidate, baseline, tokens)
    assert (one.gain, one.p_value) == pytest.approx((-other.gain, other.p_value))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)


def test_identical_sides_have_no_gain_and_no_finding():
    baseline, _, tokens = synthetic()
    found = gain_interval(baseline, baseline, tokens)
    assert (found.gain, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_one_page_has_no_interval():
    found = gain_interval(np.array([[3.0]]), np.array([[1.0]]), np.array([2]))
    assert found == intervals.GainInterval(1.0, 1, None, None, None)


def test_pages_without_a_scored_token_are_not_drawn():
    """A resample of such pages alone would be 0 / 0, and all p-values would become NaN."""
    found = gain_interval(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]), np.array([2, 0]))
    assert found == intervals.GainInterval(1.0, 1, None, None, None)
    sides = synthetic(pages=8)
    longer = [np.insert(side, 3, 0, axis=-1) for side in sides]
    found, wanted = (dataclasses.astuple(gain_interval(*one)) for one in (longer, sides))
    assert found == pytest.approx(wanted)


def test_a_page_counts_where_both_sides_scored_it():
    baseline, candidate, sizes = synthetic(pages=8)
    empty_here = intervals.Scores(np.insert(baseline, 0, 0, 1), np.insert(sizes, 0, 0))
    there = intervals.Scores(np.insert(candidate, 0, 9.0, 1), np.insert(sizes, 0, 3))
    assert intervals.gain_interval(empty_here, there).pages == 8


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("runs", "pages", "run_spread"),
    [(1, 40, 0), (1, 6, 0), (2, 12, 0.1), (4, 12, 0.1), (3, 40, 0.02)],
)
def test_coverage_is_near_95_percent(runs, pages, run_spread):
    """Also where runs differ more than pages: a plain bootstrap of two runs per side covers 65%."""
    covered, findings = 0, 0
    for seed in range(200):
        sides = synthetic(runs, pages, seed=seed, run_spread=run_spread)
        found = gain_interval(*sides)
        covered += found.low <= 0.1 <= found.high
        same = gain_interval(*synthetic(runs, pages, 0.0, seed, run_spread))
        findings += same.p_value < 0.05
    assert 0.9 < covered / 200 <= 0.995
    assert findings / 200 < 0.1


def test_the_standard_error_by_hand():
    # Two pages of one token; runs lose 1, 3 (mean 2, variance of the mean 1) and 0, 0.
    sides = scores(
        np.array([[0.0, 2.0], [2.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([1, 1])
    )
    error = intervals.standard_error(sides, resampled_variance=0.9)
    of_pages = (0.9 - 1 * 1 / 2) * 2 / 1
    assert error.size == pytest.approx((of_pages + 1) ** 0.5)
    freedom = (of_pages + 1) ** 2 / (of_pages**2 / 1 + 1**2 / 1)
    assert error.degrees_of_freedom == pytest.approx(freedom)


def test_the_interval_is_stretched_to_students_t():
    """The percentiles move away from the gain by t/z times the two standard errors' ratio."""
    sides = scores(*synthetic(runs=3, pages=12, run_spread=0.1))
    gains = intervals.resampled_gains(*sides)
    error = intervals.standard_error(sides, float(gains.var(ddof=1)))
    found = intervals.gain_interval(*sides)
    assert error.size > error.resampled  # few runs spread too little among resamples
    wider = stats.t.ppf(0.975, error.degrees_of_freedom) / stats.norm.ppf(0.975)
    ends = np.quantile(gains, [0.025, 0.975]) - found.gain
    expected = found.gain + wider * error.size / error.resampled * ends
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.p_value == pytest.approx(
        2 * stats.t.cdf(-abs(found.gain) / error.size, error.degrees_of_freedom)
    )


def test_only_several_runs_per_side_cover_seeds():
    width = {}
    for runs in (1, 4):
        found = gain_interval(*synthetic(runs, pages=400, run_spread=0.1))
        width[runs] = found.high - found.low
    assert width[4] > 3 * width[1]


@pytest.mark.simulation
def test_noise_alone_is_seldom_called_a_finding():
    p_values = [
        gain_interval(*synthetic(gain=0.0, pages=4, seed=seed)).p_value for seed in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.09
    assert sum(p < 0.05 for p in intervals.adjusted_p_values(p_values)) <= 2


def test_benjamini_hochberg_by_hand():
    # 3 tests: 0.01 x 3/1, 0.03 x 3/2, 0.9 x 3/3; None is no test and counts for nothing.
    assert intervals.adjusted_p_values([0.9, None, 0.01, 0.03]) == [
        pytest.approx(0.9),
        None,
        pytest.approx(0.03),
        pytest.approx(0.045),
    ]
    assert intervals.adjusted_p_values([None]) == [None]
