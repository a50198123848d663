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
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from eval.statistics import Contributions, StandardError, standard_error

MOST_DIVISIONS = 1_000_000  # 12 and 12 runs have 2.7 million


@dataclass(frozen=True, kw_only=True)
class RunTests:
    """Exact two-sided p-values of a difference between sides.

    Attributes:
        of_sides: share of the divisions of all runs with a difference as large; None with a single
            run on a side, or more than `MOST_DIVISIONS`.
        of_signs: share of the exchanges within pairs; None without two pairs.
    """

    of_sides: float | None
    of_signs: float | None


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
) -> RunTests:
    """Returns the exact p-values of the difference of means.

    Args:
        baseline, candidate: a loss of each run; where they are paired, in the order of their seeds.
        paired: whether runs at one place have one seed.
    """
    runs = baseline.size + candidate.size
    several = min(baseline.size, candidate.size) > 1
    of_sides = of_signs = None
    if several and math.comb(runs, baseline.size) <= MOST_DIVISIONS:
        of_sides = _p_value((baseline, candidate), _difference, "independent")
    if several and paired:
        of_signs = _p_value((baseline - candidate,), np.mean, "samples")
    return RunTests(of_sides=of_sides, of_signs=of_signs)


def _difference(baseline: np.ndarray, candidate: np.ndarray, axis: int) -> Any:
    return baseline.mean(axis=axis) - candidate.mean(axis=axis)


def _p_value(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., Any],
    kind: Literal["independent", "samples"],
) -> float:
    """Returns the p-value over every permutation, of which there are at most `n_resamples`."""
    tested = stats.permutation_test(
        samples, statistic, permutation_type=kind, vectorized=True, n_resamples=MOST_DIVISIONS
    )
    return float(tested.pvalue)


def wins_by_chance(languages: int, runs: tuple[int, int]) -> float:
    """Returns in how many languages every run of one side beats every run of the other by chance.

    Args:
        languages: number of languages.
        runs: number of runs of each side; all orders of the runs are equally likely.
    """
    return languages / math.comb(sum(runs), runs[0])
