"""Gains between sides and their errors, for the recomputation of a report."""

import numpy as np
import pandas as pd
from recompute_statistics import freedom_of_sum, put_together
from scipy import stats


def scored(sides: list[list[pd.DataFrame]], size: str) -> list[list[pd.DataFrame]]:
    """Returns the pages on which every run has a scored token."""
    counts = np.all([run[size].to_numpy() > 0 for runs in sides for run in runs], axis=0)
    return [[run[counts] for run in runs] for runs in sides]


def without_each_page(runs: list[pd.DataFrame], amount: str, size: str) -> np.ndarray:
    """Returns by how much a run's loss moves without a page, one row per run."""
    amounts, sizes = (
        np.stack([run[name].to_numpy(float) for run in runs]) for name in (amount, size)
    )
    sums, counts = amounts.sum(axis=1, keepdims=True), sizes.sum(axis=1, keepdims=True)
    return (sums - amounts) / (counts - sizes) - sums / counts


def between_runs(runs: list[pd.DataFrame], moved: np.ndarray, amount: str, size: str) -> float:
    """Returns the variance of the mean over runs, without the interaction of runs and pages."""
    count, pages = moved.shape
    if count == 1:
        return 0.0
    losses = np.array([run[amount].sum() / run[size].sum() for run in runs])
    rest = ((moved - moved.mean(axis=0)) ** 2).sum() * (pages - 1) / pages / (count - 1)
    return max(losses.var(ddof=1) - rest, 0.0) / count


def error(factors: list[float], sides: list[list[pd.DataFrame]], *unit: str) -> tuple[float, float]:
    """Returns standard error and degrees of freedom of a sum of the sides' losses times factors."""
    moved = [without_each_page(runs, *unit) for runs in sides]
    pages = moved[0].shape[1]
    together = sum(f * one.mean(axis=0) for f, one in zip(factors, moved, strict=True))
    of_pages = (together**2).sum() * (pages - 1) / pages
    of_runs = [
        f**2 * between_runs(runs, one, *unit)
        for f, runs, one in zip(factors, sides, moved, strict=True)
    ]
    free = [(v, len(runs) - 1) for v, runs in zip(of_runs, sides, strict=True) if v]
    return put_together(of_pages, pages - 1, free)


def interval(
    sides: list[list[pd.DataFrame]], gain: float, *unit: str
) -> tuple[float, float, float]:
    """Returns the 95% interval of a gain and its p-value, for the pages of one language."""
    size, free = error([1, -1], sides, *unit)
    wide = stats.t.ppf(0.975, free) * size
    p_value = 2 * stats.t.cdf(-abs(gain) / size, free) if size else float(gain == 0)
    return gain - wide, gain + wide, p_value


def mean_gain(sides: list[list[pd.DataFrame]], *unit: str) -> dict[str, float | None]:
    """Returns the mean gain over the languages with two scored pages, and its interval."""
    amount, size = unit
    each, pages, free, parts = [], [], [], []
    for code in sorted(set(sides[0][0].language)):
        mine = scored([[r[r.language == code] for r in runs] for runs in sides], size)
        if len(mine[0][0]) < 2:
            continue
        losses = [[r[amount].sum() / r[size].sum() for r in runs] for runs in mine]
        moved = [without_each_page(runs, *unit) for runs in mine]
        count = len(mine[0][0])
        scale = (count - 1) / count
        each.append(losses)
        pages.append((((moved[0].mean(axis=0) - moved[1].mean(axis=0)) ** 2).sum()) * scale)
        free.append(count - 1.0)
        parts.append([((m - m.mean(axis=0)) ** 2).sum() * scale for m in moved])
    names = ("mean_gain", "mean_gain_low", "mean_gain_high")
    if not each:
        return {**dict.fromkeys(names), "mean_gain_languages": 0}
    languages, of_runs, means = len(each), [], []
    for at in (0, 1):
        by_run = np.mean([losses[at] for losses in each], axis=0)
        means.append(by_run.mean())
        if (count := len(by_run)) > 1:
            rest = sum(part[at] for part in parts) / languages**2 / (count - 1)
            variance = max(by_run.var(ddof=1) - rest, 0.0) / count
            of_runs += [(variance, count - 1)] if variance else []
    together = freedom_of_sum(list(zip(pages, free, strict=True)))
    wide, freedom = put_together(sum(pages) / languages**2, together, of_runs)
    half, mean = stats.t.ppf(0.975, freedom) * wide, means[0] - means[1]
    found = dict(zip(names, (mean, mean - half, mean + half), strict=True))
    return {**found, "mean_gain_languages": languages}


def kept(sides: list[list[pd.DataFrame]]) -> tuple[float, float, float] | tuple[None, None, None]:
    """Returns the share of the teacher's gain that the student keeps, and Fieller's interval."""
    unit = "loss_nats", "target_tokens"
    losses = [sum(r.loss_nats.sum() for r in one) / len(one) for one in sides]
    losses = [loss / one[0].target_tokens.sum() for loss, one in zip(losses, sides, strict=True)]
    gain, student = losses[0] - losses[1], losses[0] - losses[2]
    sides = scored(sides, "target_tokens")
    if gain <= 0 or len(sides[0][0]) < 2:
        return None, None, None
    alone, free = error([1, -1, 0], sides, *unit)
    if alone * stats.t.ppf(0.975, free) >= gain:
        return None, None, None
    ratio = student / gain
    t = stats.t.ppf(0.975, error([1 - ratio, ratio, -1], sides, *unit)[1])
    # The set is where (student - r gain)^2 <= t^2 Var: a parabola, through three of its points.
    points = np.array([-1.0, 0.0, 1.0])
    sizes = [error([1 - r, r, -1], sides, *unit)[0] for r in points]
    parabola = np.polyfit(points, (student - points * gain) ** 2 - (t * np.array(sizes)) ** 2, 2)
    if error([1, -1, 0], sides, *unit)[0] * t >= gain:
        return None, None, None
    low, high = sorted(np.roots(parabola).real.tolist())
    return ratio, low, high
