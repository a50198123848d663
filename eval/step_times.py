"""Step times of both sides, measured in turns, and the time speed-up that follows from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eval.statistics.time_speedup import LogRatio, step_time_ratio, time_speedup

HOW = "mswitch time measures step times of both sides in turns, and --step-times adds them"


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What was measured.

    Attributes:
        baseline_run, candidate_run: recipe, seed and step of the two runs.
        devices: numbers and kinds of devices.
        steps: number of steps per round and side.
        baseline_seconds, candidate_seconds: seconds of these steps, per round.
    """

    baseline_run: str
    candidate_run: str
    devices: str
    steps: int
    baseline_seconds: Float[np.ndarray, " rounds"]
    candidate_seconds: Float[np.ndarray, " rounds"]


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """What a report shows of step times.

    Attributes:
        baseline_run, candidate_run: recipe, seed and step of the two runs.
        devices: numbers and kinds of devices.
        rounds: number of rounds.
        steps_per_round: number of steps per round and side.
        baseline_step_seconds, candidate_step_seconds: wall time per step, median over rounds.
        step_time_ratio: the baseline's step time ÷ the candidate's, geometric mean over rounds.
        step_time_ratio_low, step_time_ratio_high: its 95% interval.
        time_speedup: mean step speed-up times that ratio; None without a step speed-up.
        time_speedup_low, time_speedup_high: its 95% interval; None if the step speed-up has none.
    """

    baseline_run: str
    candidate_run: str
    devices: str
    rounds: int
    steps_per_round: int
    baseline_step_seconds: float
    candidate_step_seconds: float
    step_time_ratio: float
    step_time_ratio_low: float
    step_time_ratio_high: float
    time_speedup: float | None
    time_speedup_low: float | None
    time_speedup_high: float | None


def step_times(measured: Rounds, step_speedup: LogRatio | None) -> StepTimes:
    """Returns what a report shows.

    Args:
        measured: the rounds.
        step_speedup: mean step speed-up over languages; None where there is none.
    """
    ratio = step_time_ratio(measured.baseline_seconds, measured.candidate_seconds)
    low, high = ratio.ends
    assert low is not None  # rounds have a spread
    assert high is not None
    in_time = None if step_speedup is None else time_speedup(step_speedup, ratio)
    ends = (None, None) if in_time is None else in_time.ends
    medians = [
        float(np.median(seconds)) / measured.steps
        for seconds in (measured.baseline_seconds, measured.candidate_seconds)
    ]
    return StepTimes(
        baseline_run=measured.baseline_run,
        candidate_run=measured.candidate_run,
        devices=measured.devices,
        rounds=measured.baseline_seconds.size,
        steps_per_round=measured.steps,
        baseline_step_seconds=medians[0],
        candidate_step_seconds=medians[1],
        step_time_ratio=ratio.ratio,
        step_time_ratio_low=low,
        step_time_ratio_high=high,
        time_speedup=None if in_time is None else in_time.ratio,
        time_speedup_low=ends[0],
        time_speedup_high=ends[1],
    )


def sentence(times: StepTimes | None, names: tuple[str, str], over: str) -> str:
    """Returns what the step times are and what follows, or how to measure them.

    Args:
        times: the step times; None where none were named.
        names: names of baseline and candidate.
        over: what the interval of the step speed-up is over, in words.
    """
    if times is None:
        return f"No time speed-up is given: {HOW}."
    baseline, candidate = names
    seconds = (
        f"Measured in turns on {times.devices}, a step takes {times.baseline_step_seconds:.3g} s "
        f"with {baseline} and {times.candidate_step_seconds:.3g} s with {candidate}, a ratio of "
        f"{times.step_time_ratio:.3f} (95% interval {times.step_time_ratio_low:.3f} to "
        f"{times.step_time_ratio_high:.3f}, over {times.rounds} rounds)."
    )
    return f"{seconds} {_in_time(times, names, over)}"


def _in_time(times: StepTimes, names: tuple[str, str], over: str) -> str:
    low, high = times.time_speedup_low, times.time_speedup_high
    if times.time_speedup is None:
        return "Without a step speed-up no time speed-up follows."
    if low is None or high is None:
        return f"The mean time speed-up is {times.time_speedup:.2f}, without an interval."
    ends = f"95% interval {low:.2f} to {high:.2f}, over {over.removesuffix(' only')} and the rounds"
    meaning = _meaning(low, high, *names)
    return f"The mean time speed-up is {times.time_speedup:.2f} ({ends}): {meaning}."


def _meaning(low: float, high: float, baseline: str, candidate: str) -> str:
    if low <= 1 <= high:
        return "no difference in time was detected on these devices"
    word = "less" if low > 1 else "more"
    return (
        f"on these devices {candidate} needs {word} time than {baseline} for equal quality, in the "
        "mean over languages"
    )
