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

Runs of several lengths have a gain, with all of this, after each length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from data.languages import get
from eval.gains import counted_pages, mean_gain, mean_losses
from eval.losses import Unit, signed_number
from eval.sides import Points, Side
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


def compare_runs(
    baseline: Side, candidate: Side, seeds: tuple[tuple[int, ...], tuple[int, ...]], unit: Unit
) -> RunComparison | None:
    """Returns the comparison of both sides' runs as runs.

    Args:
        baseline, candidate: the sides.
        seeds: seed of each of their runs.
        unit: unit of the gains.

    Returns:
        None where a side has a single run, or no language has two pages that all runs score.
    """
    runs = len(baseline.runs), len(candidate.runs)
    if min(runs) < 2:
        return None
    paired = sorted(seeds[0]) == sorted(seeds[1])
    if paired:
        baseline, candidate = (
            side.only(tuple(np.argsort(of_side).tolist()))
            for side, of_side in zip((baseline, candidate), seeds, strict=True)
        )
    pages, languages = counted_pages(baseline.final_pages[0], candidate.final_pages[0], unit, None)
    if not languages.size:
        return None
    (theirs, from_theirs), (ours, from_ours) = (
        mean_losses(side, unit, pages, languages) for side in (baseline, candidate)
    )
    gain = float((theirs - ours).mean())
    of_sides, of_signs = exact_tests(
        theirs.mean() + from_theirs.values.sum(axis=1),
        ours.mean() + from_ours.values.sum(axis=1),
        paired=paired,
    )
    low = high = None
    if paired:
        error = paired_error(from_theirs, from_ours.times(-1.0))
        assert error is not None  # every language has two pages
        _, low, high = error.around(gain)
    return RunComparison(
        mean_gain_paired_low=low,
        mean_gain_paired_high=high,
        p_value_of_sides=of_sides,
        p_value_of_signs=of_signs,
        languages_won_by_chance=theirs.size / math.comb(sum(runs), runs[0]),
    )


@dataclass(frozen=True, kw_only=True)
class LengthGain:
    """The runs of one length in `report.json`.

    * `mean_gain` and its 95% interval are those of the summary, after `steps`; None where no
      language has two scored pages.
    * `languages_improved`: in how many languages the candidate is better, script variants left out.
    * `runs`: both sides' runs of this length as runs; None where a side has a single one.
    """

    steps: int
    mean_gain: float | None
    mean_gain_low: float | None
    mean_gain_high: float | None
    languages_improved: int
    runs: RunComparison | None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval by pairs of one seed, or where there are none that of the mean gain."""
        if self.runs is None or self.runs.mean_gain_paired_low is None:
            return self.mean_gain_low, self.mean_gain_high
        return self.runs.mean_gain_paired_low, self.runs.mean_gain_paired_high


def length_gains(
    baseline: Side, candidate: Side, seeds: tuple[tuple[int, ...], tuple[int, ...]], unit: Unit
) -> list[LengthGain]:
    """Returns the gain after each length, ascending; the arguments are those of `compare_runs`.

    Returns:
        Nothing unless both sides have runs of the same lengths, several of them.
    """
    of_ends = {baseline.points, candidate.points} == {Points.DECAYED}
    if not of_ends or baseline.steps != candidate.steps:
        return []
    return [
        _length_gain(baseline.until(step), candidate.until(step), seeds, unit)
        for step in candidate.steps
    ]


def _length_gain(
    baseline: Side, candidate: Side, seeds: tuple[tuple[int, ...], tuple[int, ...]], unit: Unit
) -> LengthGain:
    gains = baseline.curves(unit)[-1] - candidate.curves(unit)[-1]
    counted = np.array([not get(code).is_script_variant for code in candidate.languages])
    mean = mean_gain(baseline, candidate, unit)
    return LengthGain(
        steps=candidate.steps[-1],
        mean_gain=mean and mean.value,
        mean_gain_low=mean and mean.low,
        mean_gain_high=mean and mean.high,
        languages_improved=int(np.count_nonzero((gains > 0) & counted)),
        runs=compare_runs(baseline, candidate, seeds, unit),
    )


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


def sentence(runs: RunComparison | None, names: tuple[str, str], unit: Unit) -> str:
    """Returns a sentence on the runs, for the names of baseline and candidate; empty for None."""
    if runs is None:
        return ""
    low, high = runs.mean_gain_paired_low, runs.mean_gain_paired_high
    pairs, tests = "", []
    if low is not None and high is not None:
        pairs = (
            f"By pairs of one seed the 95% interval of the mean gain is {signed_number(low)} to "
            f"{signed_number(high)} {unit.value}. "
        )
    if runs.p_value_of_sides is not None:
        tests.append(f"{runs.p_value_of_sides:.2g} over all divisions of the runs into two sides")
    if runs.p_value_of_signs is not None:
        tests.append(f"{runs.p_value_of_signs:.2g} over all exchanges within the pairs")
    exact = f"Its exact p-value is {', and '.join(tests)}. " if tests else ""
    return (
        f"{pairs}{exact}By chance every {names[1]} run would be better than every {names[0]} run "
        f"in {runs.languages_won_by_chance:.1f} languages."
    )
