"""Runs of both sides with one seed, compared in pairs, and exact tests of few runs.

Runs of equal seed share the order of the data, the hidden spans, and all first weights but the
feed-forward's. So a seed moves both sides alike, and the difference within a pair may vary less
than the difference of two means does. It need not: which interval counts is written down before the
runs (docs/results/long-design.md). Both are reported.

The paired interval has the variances of `statistics`, where the contribution of a seed is that of
its difference.

Exact tests ask how often labels alone make a difference as large as the one seen. The test of sides
divides all runs into two sides in every possible way: with six runs per side 924, so its least
two-sided p-value is 2 ÷ 924. The test of signs exchanges the sides within pairs: 64 ways for six
pairs, at least 2 ÷ 64. Positively correlated pairs make the first one err on the safe side.
Reference: Fisher 1935, "The Design of Experiments", section 21.

Runs of several lengths have a gain, with all of this, after each length (`Comparison.lengths`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from eval import compare
from eval.compare import Estimate
from eval.gains import Comparison
from eval.losses import signed_number
from eval.sides import Side
from eval.statistics import Contributions, StandardError, standard_error

MOST_DIVISIONS = 1_000_000  # 12 and 12 runs have 2.7 million


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """The `runs` of `report.json`, where each side has several.

    * `mean_gain_paired_low` and `mean_gain_paired_high` are the 95% interval of the mean gain by
      pairs of one seed; None where the sides have other seeds.
    * `p_value_of_sides`, `p_value_of_signs`: as in `exact_tests`, of the mean gain.
    * `languages_won_by_chance`: in how many languages every run of the candidate would be better
      than every run of the baseline if all orders of the runs were equally likely.
    """

    mean_gain_paired_low: float | None
    mean_gain_paired_high: float | None
    p_value_of_sides: float | None
    p_value_of_signs: float | None
    languages_won_by_chance: float


def compare_runs(comparison: Comparison) -> RunComparison | None:
    """Returns the comparison of both sides' runs as runs.

    None where a side has a single run, or no language has two pages that all runs score.
    """
    if comparison.of_single_runs or comparison.mean is None:
        return None
    first, other = (sorted(side.seeds) for side in comparison.sides)
    if paired := first == other:
        baseline, candidate = map(_by_seed, comparison.sides)
        comparison = Comparison(baseline=baseline, candidate=candidate, unit=comparison.unit)
    assert comparison.mean is not None  # nor has it been lost by the order of the runs
    codes = compare.languages_in_mean(comparison.parts[0][1])
    (theirs, from_theirs), (ours, from_ours) = (
        scores.over(codes) for _, scores in comparison.parts
    )
    of_sides, of_signs = exact_tests(
        theirs.mean() + from_theirs.values.sum(axis=1),
        ours.mean() + from_ours.values.sum(axis=1),
        paired=paired,
    )
    low = high = None
    if paired:
        error = paired_error(from_theirs, from_ours.times(-1.0))
        assert error is not None  # every language has two pages
        low, high = error.around(comparison.mean.value)
    runs = len(first), len(other)
    return RunComparison(
        mean_gain_paired_low=low,
        mean_gain_paired_high=high,
        p_value_of_sides=of_sides,
        p_value_of_signs=of_signs,
        languages_won_by_chance=theirs.size / math.comb(sum(runs), runs[0]),
    )


def _by_seed(side: Side) -> Side:
    return side.only(tuple(np.argsort(side.seeds).tolist()))


def mean_gain(comparison: Comparison, runs: RunComparison | None) -> Estimate | None:
    """Returns the mean gain with its interval by pairs of one seed, where there are such."""
    mean = comparison.mean
    if mean is None or runs is None or runs.mean_gain_paired_low is None:
        return mean
    return replace(mean, low=runs.mean_gain_paired_low, high=runs.mean_gain_paired_high)


def paired_error(baseline: Contributions, candidate: Contributions) -> StandardError | None:
    """Returns the standard error of a difference whose runs are in pairs, in one order.

    Args:
        baseline: contributions to the estimate.
        candidate: those of the other side, with the sign that they have in the estimate.

    Returns:
        None if a language has a single page.
    """
    return standard_error([replace(baseline, values=baseline.values + candidate.values)])


def exact_tests(
    baseline: Float[np.ndarray, " baseline_runs"],
    candidate: Float[np.ndarray, " candidate_runs"],
    *,
    paired: bool,
) -> tuple[float | None, float | None]:
    """Returns the exact two-sided p-values of the difference of means.

    Args:
        baseline, candidate: a loss of each run; where they are paired, in the order of their seeds.
        paired: whether runs at one place have one seed.

    Returns:
        Share of the divisions of all runs with a difference as large; None with a single run on a
        side, or more than `MOST_DIVISIONS`. And share of the exchanges within pairs; None without
        two pairs, or with more exchanges than that.
    """
    runs = baseline.size + candidate.size
    several = min(baseline.size, candidate.size) > 1
    of_sides = of_signs = None
    if several and math.comb(runs, baseline.size) <= MOST_DIVISIONS:
        of_sides = _p_value((baseline, candidate), _difference, "independent")
    if several and paired and 2**baseline.size <= MOST_DIVISIONS:
        of_signs = _p_value((baseline - candidate,), np.mean, "samples")
    return of_sides, of_signs


def _difference(baseline: np.ndarray, candidate: np.ndarray, axis: int) -> Any:
    return baseline.mean(axis=axis) - candidate.mean(axis=axis)


def _p_value(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., Any],
    kind: Literal["independent", "samples"],
) -> float:
    """Returns the p-value over every permutation, of which there are at most `n_resamples`."""
    from scipy import stats  # takes a second to load

    tested = stats.permutation_test(
        samples, statistic, permutation_type=kind, vectorized=True, n_resamples=MOST_DIVISIONS
    )
    return float(tested.pvalue)


def sentence(runs: RunComparison | None, comparison: Comparison) -> str:
    """Returns a sentence on the runs; empty for None."""
    if runs is None:
        return ""
    low, high = runs.mean_gain_paired_low, runs.mean_gain_paired_high
    pairs, tests = "", []
    if low is not None and high is not None:
        pairs = (
            f"By pairs of one seed the 95% interval of the mean gain is {signed_number(low)} to "
            f"{signed_number(high)} {comparison.unit.value}. "
        )
    if runs.p_value_of_sides is not None:
        tests.append(f"{runs.p_value_of_sides:.2g} over all divisions of the runs into two sides")
    if runs.p_value_of_signs is not None:
        tests.append(f"{runs.p_value_of_signs:.2g} over all exchanges within the pairs")
    exact = f"Its exact p-value is {', and '.join(tests)}. " if tests else ""
    baseline, candidate = comparison.names
    return (
        f"{pairs}{exact}By chance every {candidate} run would be better than every {baseline} run "
        f"in {runs.languages_won_by_chance:.1f} languages."
    )
