"""Both sides' runs as runs, after the last and after each length, recomputed."""

import itertools
import math

import numpy as np
import pandas as pd
from recompute_gains import mean_gain, scored, without_each_page
from recompute_sides import Side, at_step, curves
from recompute_statistics import freedom_of_sum, put_together, same
from scipy import stats


def compare_lengths(report: dict, sides: list[Side], unit: tuple[str, str]) -> None:
    """Compares gains after each length, their intervals and p-values with the evaluations."""
    of_ends = all(one.of_ends for one in sides)
    steps = [list(one[0]) for one in sides]
    expected = steps[0] if of_ends and steps[0] == steps[1] else []
    lengths = report.get("lengths", [])
    assert [length["steps"] for length in lengths] == expected
    for one in lengths:
        rows = at_step(sides, one["steps"])
        for name, value in mean_gain(rows, *unit).items():
            if name != "mean_gain_languages":
                same(f"{name} after {one['steps']} steps", one[name], value)
        theirs, ours = (curves([{0: run} for run in of], *unit).loc[0] for of in rows)
        assert one["languages_improved"] == int((theirs > ours).sum())
        compare_runs(one["runs"], report, rows, unit)
    print(f"paired intervals, exact p-values, gains after {len(expected)} lengths equal to 1e-9")


def compare_runs(
    shown: dict | None, report: dict, sides: list[list[pd.DataFrame]], unit: tuple[str, str]
) -> None:
    """Compares the interval and p-values over runs with the evaluations."""
    seeds = [report[which]["seeds"] for which in ("baseline", "candidate")]
    paired = sorted(seeds[0]) == sorted(seeds[1])
    if paired:
        sides = [[runs[at] for at in np.argsort(of)] for runs, of in zip(sides, seeds, strict=True)]
    losses, pages, rests = by_language(sides, unit)
    if shown is None:
        assert min(map(len, sides)) < 2 or not losses
        return
    means = [np.mean([of[at] for of in losses], axis=0) for at in (0, 1)]
    found = {
        "p_value_of_sides": of_sides(*means),
        "p_value_of_signs": of_signs(means[0] - means[1]) if paired else None,
        "languages_won_by_chance": len(losses) / math.comb(sum(map(len, seeds)), len(seeds[0])),
    }
    ends = paired_ends(means[0] - means[1], pages, rests) if paired else (None, None)
    found |= dict(zip(("mean_gain_paired_low", "mean_gain_paired_high"), ends, strict=True))
    assert shown.keys() == found.keys()
    for name, value in found.items():
        same(name, shown[name], value)


def by_language(
    sides: list[list[pd.DataFrame]], unit: tuple[str, str]
) -> tuple[list, list[tuple[float, int]], list[float]]:
    """Returns per language the losses of each run, the variance over pages, and what runs add."""
    amount, size = unit
    losses, pages, rests = [], [], []
    for code in sorted(set(sides[0][0].language)):
        mine = scored([[r[r.language == code] for r in runs] for runs in sides], size)
        if (count := len(mine[0][0])) < 2:
            continue
        losses.append([[r[amount].sum() / r[size].sum() for r in runs] for runs in mine])
        moved = [without_each_page(runs, *unit) for runs in mine]
        scale = (count - 1) / count
        pages.append((((moved[0].mean(axis=0) - moved[1].mean(axis=0)) ** 2).sum() * scale, count))
        if len(moved[0]) == len(moved[1]):
            pairs = moved[0] - moved[1]
            rests.append(((pairs - pairs.mean(axis=0)) ** 2).sum() * scale)
    return losses, pages, rests


def paired_ends(
    gains: np.ndarray,
    pages: list[tuple[float, int]],
    rests: list[float],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Returns the interval of the mean of the pairs' gains."""
    languages, runs = len(pages), len(gains)
    rest = sum(rests) / languages**2 / (runs - 1)
    between = max(gains.var(ddof=1) - rest, 0.0) / runs
    together = freedom_of_sum([(variance, count - 1.0) for variance, count in pages])
    of_pages = sum(variance for variance, _ in pages) / languages**2
    wide, freedom = put_together(of_pages, together, [(between, runs - 1)] if between else [])
    half = stats.t.ppf((1 + confidence) / 2, freedom) * wide
    return gains.mean() - half, gains.mean() + half


def of_sides(baseline: np.ndarray, candidate: np.ndarray) -> float | None:
    """Returns the p-value by counting divisions of all runs; None for more than a million."""
    runs = np.concatenate([baseline, candidate])
    if math.comb(len(runs), len(baseline)) > 1_000_000:
        return None
    chosen = np.array(list(itertools.combinations(range(len(runs)), len(baseline))))
    sums = runs[chosen].sum(axis=1)
    rest = (runs.sum() - sums) / len(candidate)
    return two_sided(sums / len(baseline) - rest, baseline.mean() - candidate.mean())


def of_signs(gains: np.ndarray) -> float:
    """Returns the p-value by counting exchanges within pairs."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(gains))))
    return two_sided((signs * gains).mean(axis=1), gains.mean())


def two_sided(drawn: np.ndarray, seen: float) -> float:
    """Returns twice the smaller share of draws that lie as far or farther, at most 1."""
    near = 1e-12 + abs(seen) * 1e-12
    above, below = np.mean(drawn >= seen - near), np.mean(drawn <= seen + near)
    return min(1.0, 2 * min(above, below))
