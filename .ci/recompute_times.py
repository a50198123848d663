"""Recomputes the time speed-up of report.json from step_times.json, without mswitch's code."""

import json
import math
import statistics
import sys
from pathlib import Path

from recompute_statistics import put_together, same
from scipy import stats


def compare_times(
    shown: dict | None, directory: Path | None, speedup: tuple[float, float, float] | None
) -> None:
    """Compares medians, the ratio of step times, the time speed-up and both intervals.

    Args:
        shown: step times of the report; None if it has none.
        directory: what `mswitch time` wrote.
        speedup: mean, standard error and degrees of freedom of the log step speed-ups.
    """
    if (shown is None) != (directory is None):
        sys.exit("the report has step times and no --step-times was given, or the reverse")
    if shown is None or directory is None:
        return
    written = json.loads((directory / "step_times.json").read_text())
    rounds, steps = written["rounds"], written["steps_per_round"]
    for side in ("baseline", "candidate"):
        each = [one[f"{side}_seconds"] / steps for one in rounds]
        same(f"{side} step seconds", shown[f"{side}_step_seconds"], statistics.median(each))
    logs = [math.log(one["baseline_seconds"] / one["candidate_seconds"]) for one in rounds]
    mean, variance = statistics.fmean(logs), statistics.variance(logs) / len(logs)
    _compare("step_time_ratio", shown, mean, math.sqrt(variance), len(logs) - 1)
    if speedup is None:
        same("time speed-up", shown["time_speedup"], None)
    else:
        of_steps, size, free = speedup
        several = [(variance, len(logs) - 1)] if variance else []
        _compare("time_speedup", shown, mean + of_steps, *put_together(size**2, free, several))
    print("step times, their ratio, the time speed-up and intervals equal to 1e-9")


def _compare(name: str, shown: dict, log: float, size: float, free: float) -> None:
    same(name, shown[name], math.exp(log))
    for end, sign in (("low", -1), ("high", 1)):
        half = sign * stats.t.ppf(0.975, free) * size
        found = None if math.isnan(size) else math.exp(log + half)
        same(f"{name} {end}", shown[f"{name}_{end}"], found)
