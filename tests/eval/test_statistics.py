"""Degrees of freedom of a mean over languages, in which some have few pages.

Intervals and p-values, against a jackknife, sums of squares by hand and simulation.
"""

import numpy as np
import pytest
from scipy import stats

from eval import statistics
from eval.compare import Estimate, estimate, ratios
from eval.statistics import Contributions, freedom_of_sum, standard_error


@pytest.mark.parametrize(
    ("pages", "coverage"), [((12, 12, 12), 0.952), ((5, 60, 60, 60), 0.943), ((3, 60, 60), 0.924)]
)
def test_a_language_of_few_pages_leaves_the_mean_its_coverage(pages, coverage):
    """With the sum of all degrees of freedom it was 0.952, 0.912 and 0.850 in 20,000 draws."""
    random, languages = np.random.default_rng(1), np.repeat(np.arange(len(pages)), pages)
    shares, draws = 1 / np.repeat(pages, pages), 3000
    covered = 0
    for values in random.normal(size=(draws, languages.size)):
        means = np.bincount(languages, values * shares)
        found = (values - means[languages]) * shares / len(pages)
        error = standard_error([Contributions(found[None], shares, languages)])
        covered += abs(means.mean()) <= error.half_width
    spread = (coverage * (1 - coverage) / draws) ** 0.5
    assert covered / draws == pytest.approx(coverage, abs=4 * spread)


def test_languages_that_share_clusters_are_one_group():
    """Each of these lists has the same pages; only who shares clusters with whom differs."""
    languages, shares = np.repeat(np.arange(3), 4), np.full(12, 0.25)
    values = np.random.default_rng(2).normal(size=(3, 4))
    values = (values - values.mean(axis=1, keepdims=True)).reshape(1, 12)

    def freedom(clusters):
        given = None if clusters is None else np.array(clusters)
        return standard_error([Contributions(values, shares, languages, given)]).degrees_of_freedom

    assert freedom([*range(4)] * 3) == pytest.approx(3)  # one group of four clusters
    assert freedom([*range(12)]) == pytest.approx(freedom(None))
    assert freedom(None) > 3
    spread = [*range(4), *range(4), 10, 11, 12, 13]  # the third language is apart
    both = [*range(4), *range(4), 10, 11, 12, 99]  # numbers without a page change nothing
    assert freedom(spread) == pytest.approx(freedom(both))
    assert 3 < freedom(spread) < 6 + 1e-9


def test_the_freedom_of_a_sum_lies_between_the_least_and_the_sum():
    assert freedom_of_sum(np.array([2.0, 2.0]), np.array([5.0, 5.0])) == pytest.approx(10)
    assert freedom_of_sum(np.array([2.0, 0.0]), np.array([5.0, 7.0])) == pytest.approx(5)
    assert freedom_of_sum(np.zeros(2), np.array([5.0, 7.0])) == 12  # nothing varies


def parts(baseline, candidate, tokens):
    """Returns the scores of two sides in one language, whose difference is the gain."""
    zeros, scored = np.zeros(len(tokens), int), tokens > 0
    one, other = (ratios(("sw",), zeros, side, tokens, scored) for side in (baseline, candidate))
    return [(1.0, one), (-1.0, other)]


def gain_of(*sides):
    return estimate(parts(*sides), ["sw"])


def synthetic(runs=1, pages=40, gain=0.1, seed=0, run_spread=0.02):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 300, pages)
    level = rng.normal(3.0, 0.5, pages)
    noise = [
        rng.normal(0, 0.1, (runs, pages)) + rng.normal(0, run_spread, (runs, 1)) for _ in range(2)
    ]
    return (level + noise[0]) * tokens, (level - gain + noise[1]) * tokens, tokens


def error_of(*sides):
    return standard_error([one.contributions.times(sign) for sign, one in parts(*sides)])


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
    found, error = gain_of(*sides), error_of(*sides)
    wide = stats.t.ppf(0.975, error.degrees_of_freedom) * error.variance**0.5
    assert (found.low, found.high) == pytest.approx((found.value - wide, found.value + wide))
    at_the_end = 2 * stats.t.cdf(-abs(found.value) / error.variance**0.5, error.degrees_of_freedom)
    assert found.p_value == pytest.approx(at_the_end)


def test_sides_exchanged_change_the_sign_only_and_hard_pages_cancel():
    baseline, candidate, tokens = synthetic()
    one, other = gain_of(baseline, candidate, tokens), gain_of(candidate, baseline, tokens)
    assert 0.02 < one.low < 0.1 < one.high < 0.18
    assert (one.value, one.p_value) == pytest.approx((-other.value, other.p_value))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-12)
    same = gain_of(baseline, baseline, tokens)
    assert (*same.ends, same.p_value) == (0, 0, 0, 1)


def test_pages_without_a_scored_token_do_not_count():
    for tokens in ([2], [2, 0]):  # one page has no interval
        levels = (np.array([[level, 0.0][: len(tokens)]]) for level in (3.0, 1.0))
        assert gain_of(*levels, np.array(tokens)) == Estimate(value=1.0, examples=1)
    sides = synthetic(pages=8)
    longer = [np.insert(side, 3, 0, axis=-1) for side in sides]
    assert gain_of(*longer).ends == pytest.approx(gain_of(*sides).ends)


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
        found = gain_of(*sides)
        covered += found.low <= 0.1 <= found.high
        same = gain_of(*synthetic(runs, pages, 0.0, seed, run_spread))
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
        found = gain_of(*synthetic(runs, pages=400, run_spread=0.1))
        width[runs] = found.high - found.low
    assert width[4] > 3 * width[1]


@pytest.mark.simulation
def test_noise_alone_is_seldom_called_a_finding():
    p_values = [gain_of(*synthetic(gain=0.0, pages=4, seed=seed)).p_value for seed in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.12  # 200 draws of four pages
    assert sum(p < 0.05 for p in statistics.adjusted_p_values(p_values)) <= 2


def test_benjamini_hochberg_by_hand():
    # 3 tests: 0.01 x 3/1, 0.03 x 3/2, 0.9 x 3/3; None is not a test and counts for nothing.
    assert statistics.adjusted_p_values([0.9, None, 0.01, 0.03]) == [
        pytest.approx(0.9),
        None,
        pytest.approx(0.03),
        pytest.approx(0.045),
    ]
    assert statistics.adjusted_p_values([None]) == [None]
