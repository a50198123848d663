"""Intervals and p-values, against a jackknife, sums of squares by hand and simulation."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from eval.statistics import intervals
from eval.statistics.standard_error import standard_error


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


def error_of(baseline, candidate, tokens):
    sides = scores(baseline, candidate, tokens)
    return standard_error([sides[0].contributions(), sides[1].contributions().times(-1.0)])


def slow_variance_of_pages(baseline, candidate, tokens):
    """Returns the variance of the gain by leaving out one page at a time."""

    def gain(pages):
        losses = [side[:, pages].mean(axis=0).sum() for side in (baseline, candidate)]
        return (losses[0] - losses[1]) / tokens[pages].sum()

    every = list(range(len(tokens)))
    moved = [gain([one for one in every if one != page]) - gain(every) for page in every]
    return sum(one**2 for one in moved) * (len(tokens) - 1) / len(tokens)


def test_with_one_run_it_is_the_jackknife_over_pages():
    sides = synthetic(pages=9)
    error = error_of(*sides)
    assert error.variance == pytest.approx(slow_variance_of_pages(*sides), rel=1e-12)
    assert error.degrees_of_freedom == pytest.approx(8)


def slow_two_way(side):
    """Returns the mean squares of runs and of runs x pages, one cell at a time; equal pages."""
    runs, pages = side.shape
    mean_of_run = [sum(row) / pages for row in side]
    mean_of_page = [sum(column) / runs for column in side.T]
    mean = sum(mean_of_run) / runs
    between = pages * sum((one - mean) ** 2 for one in mean_of_run) / (runs - 1)
    rest = sum(
        (side[run, page] - mean_of_run[run] - mean_of_page[page] + mean) ** 2
        for run in range(runs)
        for page in range(pages)
    )
    return between, rest / (runs - 1) / (pages - 1)


def test_with_equal_pages_it_is_the_analysis_of_variance():
    baseline, candidate, _ = synthetic(runs=3, pages=7, run_spread=0.1)
    tokens = np.full(7, 10)
    error = error_of(baseline, candidate, tokens)
    between, rest = np.transpose([slow_two_way(side / 10) for side in (baseline, candidate)])
    of_runs = np.maximum(between - rest, 0) / (3 * 7)
    of_pages = slow_variance_of_pages(baseline, candidate, tokens)
    assert error.variance == pytest.approx(of_pages + of_runs.sum(), rel=1e-10)
    shares = np.array([of_pages, of_runs.sum()]) / error.variance
    freedom_of_runs = of_runs.sum() ** 2 / (of_runs**2 / 2).sum()
    expected = 1 / (shares**1.5 / [6, freedom_of_runs]).sum()
    assert error.degrees_of_freedom == pytest.approx(expected, rel=1e-10)


def test_the_interval_is_students():
    sides = synthetic(runs=2, pages=12, run_spread=0.1)
    found, error = gain_interval(*sides), error_of(*sides)
    wide = stats.t.ppf(0.975, error.degrees_of_freedom) * error.variance**0.5
    assert (found.low, found.high) == pytest.approx((found.gain - wide, found.gain + wide))
    at_the_end = 2 * stats.t.cdf(-abs(found.gain) / error.variance**0.5, error.degrees_of_freedom)
    assert found.p_value == pytest.approx(at_the_end)


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
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-12)


def test_identical_sides_have_no_gain_and_no_finding():
    baseline, _, tokens = synthetic()
    found = gain_interval(baseline, baseline, tokens)
    assert (found.gain, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_one_page_has_no_interval():
    found = gain_interval(np.array([[3.0]]), np.array([[1.0]]), np.array([2]))
    assert found == intervals.GainInterval(1.0, 1, None, None, None)


def test_pages_without_a_scored_token_do_not_count():
    found = gain_interval(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]), np.array([2, 0]))
    assert found == intervals.GainInterval(1.0, 1, None, None, None)
    sides = synthetic(pages=8)
    longer = [np.insert(side, 3, 0, axis=-1) for side in sides]
    found, wanted = (astuple(gain_interval(*one)) for one in (longer, sides))
    assert found == pytest.approx(wanted)


def test_a_page_counts_where_both_sides_scored_it():
    baseline, candidate, sizes = synthetic(pages=8)
    empty_here = intervals.Scores(np.insert(baseline, 0, 0, 1), np.insert(sizes, 0, 0))
    there = intervals.Scores(np.insert(candidate, 0, 9.0, 1), np.insert(sizes, 0, 3))
    found = intervals.gain_interval(empty_here, there)
    assert found.pages == 8
    assert found == intervals.gain_interval(
        intervals.Scores(baseline, sizes), intervals.Scores(candidate, sizes)
    )


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("runs", "pages", "run_spread"),
    [(1, 40, 0), (1, 6, 0), (2, 12, 0.1), (2, 40, 0.02), (4, 12, 0.1), (3, 40, 0.02)],
)
def test_coverage_is_near_95_percent(runs, pages, run_spread):
    """The whole grid, with 2,000 draws per cell, is benchmarks/results/coverage.json."""
    covered, findings = 0, 0
    for seed in range(400):
        sides = synthetic(runs, pages, seed=seed, run_spread=run_spread)
        found = gain_interval(*sides)
        covered += found.low <= 0.1 <= found.high
        same = gain_interval(*synthetic(runs, pages, 0.0, seed, run_spread))
        findings += same.p_value < 0.05
    assert 0.88 < covered / 400 < 0.99  # four standard errors around 0.93 and 0.97
    assert findings / 400 < 0.12


def test_two_runs_that_spread_more_than_pages_leave_few_degrees_of_freedom():
    for seed in range(20):
        error = error_of(*synthetic(runs=2, pages=40, seed=seed, run_spread=1.0))
        assert 1 <= error.degrees_of_freedom <= 2.5


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
    assert np.mean(np.array(p_values) < 0.05) < 0.12  # 200 draws of four pages
    assert sum(p < 0.05 for p in intervals.adjusted_p_values(p_values)) <= 2


def test_benjamini_hochberg_by_hand():
    # 3 tests: 0.01 x 3/1, 0.03 x 3/2, 0.9 x 3/3; None is not a test and counts for nothing.
    assert intervals.adjusted_p_values([0.9, None, 0.01, 0.03]) == [
        pytest.approx(0.9),
        None,
        pytest.approx(0.03),
        pytest.approx(0.045),
    ]
    assert intervals.adjusted_p_values([None]) == [None]
