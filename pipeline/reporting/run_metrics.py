"""Metrics of runs over their steps, as a report prints them."""

import itertools
from collections.abc import Sequence
from statistics import fmean, median

from pipeline.runs.finished import FinishedRun


def median_metric(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns the median of a metric over all steps of all runs, or None if not recorded."""
    lines = (line for run in runs for line in run.metrics)
    values = [value for line in lines if (value := line.get(name)) is not None]
    return float(median(values)) if values else None


def spread_over_tenths(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns by what factor a metric changed within a run, for the run where it changed most.

    A run's values are cut into tenths; the factor is the greatest ÷ the least of their medians.
    None if every run recorded the metric fewer than twenty times: a tenth would be one value.
    """
    spreads = []
    for run in runs:
        values = [value for line in run.metrics if (value := line.get(name)) is not None]
        if len(values) >= 20:
            ends = [len(values) * tenth // 10 for tenth in range(11)]
            medians = [median(values[one:other]) for one, other in itertools.pairwise(ends)]
            spreads.append(max(medians) / min(medians))
    return max(spreads, default=None)


def mean_of_last_tenth(runs: Sequence[FinishedRun], name: str) -> float | None:
    """Returns the mean over runs of a metric's mean over the last tenth of each one's steps.

    None where no run recorded it. A line counts for the steps that it covers: a run that was
    stopped has a line for fewer.
    """
    means = [mean for run in runs if (mean := _mean_of_last_tenth(run, name)) is not None]
    return fmean(means) if means else None


def _mean_of_last_tenth(run: FinishedRun, name: str) -> float | None:
    recorded = [
        (line.get("step") or 0, value, line.get("steps") or 1)
        for line in run.metrics
        if (value := line.get(name)) is not None
    ]
    late = [one for one in recorded if one[0] > 0.9 * run.last_step] or recorded[-1:]
    _, values, steps = zip(*late, strict=True) if late else ((), (), ())
    return fmean(values, steps) if values else None
