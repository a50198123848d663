"""Step speed-ups and their jackknife, for the recomputation of a report."""

import itertools
import math

import numpy as np
from recompute_sides import Side, last
from recompute_statistics import freedom_of_sum, put_together


def log_speedup(baseline: dict[int, float], candidate: dict[int, float]) -> float:
    """Returns the log of the speed-up; negative where the candidate ends worse."""
    baseline, candidate = ({s: c[s] for s in sorted(c) if s > 0} for c in (baseline, candidate))
    ours, theirs = candidate[max(candidate)], baseline[max(baseline)]
    if ours == theirs:
        return (log_saved(baseline, candidate) - log_saved(candidate, baseline)) / 2
    return log_saved(baseline, candidate) if ours < theirs else -log_saved(candidate, baseline)


def is_bound(baseline: dict[int, float], candidate: dict[int, float]) -> bool:
    """Returns whether the target lies beyond what the better side's curve is extrapolated to."""
    sides = [[c[s] for s in sorted(c) if s > 0] for c in (baseline, candidate)]
    slower, faster = sorted(sides, key=lambda curve: curve[-1], reverse=True)
    below, fall = slower[-1] - faster[0], faster[0] - faster[1]
    return slower[-1] != faster[-1] and below > 0 and (fall <= 0 or below >= fall)


def log_saved(baseline: dict[int, float], candidate: dict[int, float]) -> float:
    """Returns the log of the baseline's steps minus that of the candidate's to its final loss."""
    target, steps = baseline[max(baseline)], list(candidate)
    reached, segment = math.log(steps[0]), math.log(steps[1] / steps[0])
    if (first := candidate[steps[0]]) < target:  # extrapolated by at most one segment
        fall = first - candidate[steps[1]]
        reached -= segment * (min((target - first) / fall, 1) if fall > 0 else 1)
    for one, other in itertools.pairwise(steps):
        above, below = sorted((candidate[one], candidate[other]), reverse=True)
        if below > target:
            reached += math.log(other / one)
        elif above > target:
            reached += math.log(other / one) * (above - target) / (above - below)
    return math.log(max(baseline)) - reached


def mean_speedup(sides: list[Side], amount: str, size: str) -> tuple[float, float, float]:
    """Returns mean, standard error and degrees of freedom of the log speed-ups, by jackknife."""
    keep = np.all([rows[size] > 0 for one in sides for rows in last(one)], axis=0)
    keep &= ~last(sides[0])[0].language.str.endswith("-Latn").to_numpy()
    names = last(sides[0])[0].language[keep].to_numpy()
    tables = [
        {s: np.stack([run[s][amount][keep].to_numpy() for run in one]) for s in one[0]}
        for one in sides
    ]
    sizes = [last(one)[0][size][keep].to_numpy(float) for one in sides]
    languages = list(dict.fromkeys(names))
    places = {code: np.flatnonzero(names == code) for code in languages}

    def of(code: str, drop: int | None = None, run: tuple[int, int] | None = None) -> float:
        pages = [at for at in places[code] if at != drop]
        both = []
        for which, (table, size_of) in enumerate(zip(tables, sizes, strict=True)):
            rest = [r for r in range(len(sides[which])) if (which, r) != run]
            count = size_of[pages].sum() * len(rest)
            both.append({s: rows[np.ix_(rest, pages)].sum() / count for s, rows in table.items()})
        return log_speedup(*both)

    each = {code: of(code) for code in languages}
    mean, count = sum(each.values()) / len(each), len(each)
    if min(map(len, places.values())) < 2:
        return mean, math.nan, math.nan
    of_pages = [
        (
            sum((of(code, drop=at) - each[code]) ** 2 for at in places[code]) * (1 - 1 / pages),
            pages - 1,
        )
        for code, pages in ((code, len(places[code])) for code in languages)
    ]
    total = sum(variance for variance, _ in of_pages)
    of_runs = []
    for which, one in enumerate(sides):
        if (runs := len(one)) > 1:
            means = [sum(of(c, run=(which, r)) for c in languages) / count for r in range(runs)]
            of_runs.append(((runs - 1) / runs * sum((m - mean) ** 2 for m in means), runs - 1))
    return mean, *put_together(total / count**2, freedom_of_sum(of_pages), of_runs)
