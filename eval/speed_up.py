"""Speed-up: how many times fewer steps the candidate needs for the baseline's final quality.

Reference: Fedus et al. 2022 (Switch Transformer), section 4.3, footnote 9 and figure 8: the
baseline's number of steps ÷ the steps the candidate needs to reach the baseline's *final* loss in a
language. The unit is a ratio; above 1 the candidate is faster.

Symmetric. Where the candidate ends worse, the roles change: the ratio is the steps that the
baseline needs for the candidate's final loss ÷ the candidate's steps, below 1. So exchanged sides
give the reciprocal, and one architecture on both sides gives 1 on average. The mean is over
logarithms.

The step. Curves are linear between their points, in the logarithm of steps. The target is reached
after the log steps during which the curve lies above it. That is the crossing where a curve crosses
once, and lies between the first and the last crossing where noise makes several. A curve that is at
the target at its first point is extrapolated along its first segment, by at most the length of
that segment; beyond that the speed-up is a bound. Both hold for both sides alike.

Points. A loss compares with another one only after a decay of the learning rate. So the points are
the final losses of decayed runs of several lengths (`sides.Points.DECAYED`), or the evaluations of
one run whose rate does not fall to 0. Within one decaying run the ratio is too near to 1.

Interval. The jackknife over pages, the same on both sides, and over the runs of each side: the mean
over languages is computed again without each of them. There is no random number.

Time. Steps of both sides hold equally many tokens, but one takes longer:

    time speed-up = step speed-up × seconds per step of the baseline ÷ those of the candidate

Seconds come from two runs that take turns in one process, some steps each per round
(docs/decisions/step-times.md). What slows the machine for longer than a round slows both alike, so
a round's ratio is what counts. The estimate is the mean over rounds of the logarithm of their
ratios, with Student's t interval over rounds: exactly 1 for equal seconds, and the reciprocal for
exchanged sides. Steps and seconds are measured apart, so the variances of the two logarithms add
up, and their degrees of freedom as in `statistics`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from eval.statistics import StandardError, combine_variances, freedom_of_sum

# Switch, section 4.3: a mean of 5x over 101 languages, at least 4x in 91 % of them.
PAPER_MEAN = 5.0
PAPER_THRESHOLD = 4.0
PAPER_SHARE_AT_LEAST_4 = 0.91
# A language at a bound stays there whichever page or run is left out, so it seems to have no error.
# Where more are at a lower bound the mean is one as well: only the interval's lower end holds.
MOST_AT_BOUND = 0.05


@dataclass(frozen=True)
class Curves:
    """The losses of one side's runs on the same pages after several numbers of steps.

    Attributes:
        steps: numbers of steps, ascending, above 0.
        amounts: loss per run, point and page, summed over the page.
        sizes: target tokens or hidden bytes per page.
    """

    steps: Int[np.ndarray, " points"]
    amounts: Float[np.ndarray, "runs points pages"]
    sizes: Int[np.ndarray, " pages"]


@dataclass(frozen=True)
class StepSpeedup:
    """The speed-up of one language.

    Attributes:
        ratio: speed-up.
        is_bound: whether the target lies beyond what the faster side's curve is extrapolated to:
            the speed-up is then at least `ratio` if the candidate ends better, and else at most.
    """

    ratio: float
    is_bound: bool


@dataclass(frozen=True)
class SpeedupSummary:
    """Speed-ups over all languages.

    Attributes:
        at_bound: number of languages whose speed-up is a bound.
        median: median over languages.
        mean: geometric mean over languages.
        low, high: ends of the mean's 95% interval; None where a language has a single page. The
            lower end is None where more than `MOST_AT_BOUND` of the languages are at an upper
            bound, and the upper end where more are at a lower one.
        share_at_least_4: share of the languages with a speed-up of at least 4.
        error: standard error of the mean logarithm; None where an end of the interval is.
    """

    at_bound: int
    median: float
    mean: float
    low: float | None
    high: float | None
    share_at_least_4: float
    error: StandardError | None


def log_speedups(
    baseline_steps: Int[np.ndarray, " baseline_points"],
    baseline_loss: Float[np.ndarray, "... baseline_points"],
    candidate_steps: Int[np.ndarray, " candidate_points"],
    candidate_loss: Float[np.ndarray, "... candidate_points"],
) -> tuple[Float[np.ndarray, "..."], Bool[np.ndarray, "..."]]:
    """Returns logarithms of the speed-ups, and whether each is a bound."""
    ours, theirs = np.log(candidate_steps), np.log(baseline_steps)
    our_end, their_end = candidate_loss[..., -1:], baseline_loss[..., -1:]
    reached, ours_is_bound = _log_steps_to(ours, candidate_loss - their_end)
    theirs_reached, theirs_is_bound = _log_steps_to(theirs, baseline_loss - our_end)
    faster, slower = theirs[-1] - reached, theirs_reached - ours[-1]
    better, worse = (our_end < their_end)[..., 0], (our_end > their_end)[..., 0]
    logs = np.select([better, worse], [faster, slower], (faster + slower) / 2)
    return logs, np.select([better, worse], [ours_is_bound, theirs_is_bound], False)


def _log_steps_to(log_steps: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logarithm of the steps to the target, and whether it is a bound.

    Args:
        log_steps: logarithms of the steps of the points.
        above: loss minus target at the points. Between two points a linear curve lies above the
            target for the share max(a, 0) + max(b, 0) of |a| + |b|.
    """
    sizes = np.abs(above[..., 1:]) + np.abs(above[..., :-1])
    positive = np.maximum(above[..., 1:], 0) + np.maximum(above[..., :-1], 0)
    shares = positive / np.where(sizes > 0, sizes, 1)
    first, falls = above[..., 0], above[..., 0] - above[..., 1]
    below = np.maximum(-first, 0)
    back = np.where(below < falls, below / np.where(falls > 0, falls, 1), below > 0)
    segments = np.diff(log_steps)
    steps = log_steps[0] + (shares * segments).sum(axis=-1) - back * segments[0]
    return np.asarray(steps), np.asarray(back == 1)


def summarise(
    speedups: Sequence[StepSpeedup], error: StandardError | None, upper_bounds: int = 0
) -> SpeedupSummary:
    """Returns the summary over all languages.

    Args:
        speedups: speed-up of each language.
        error: standard error of the mean logarithm; None where it is unknown.
        upper_bounds: number of bounds that are upper ones: the candidate ends worse.
    """
    ratios = np.array([speedup.ratio for speedup in speedups])
    mean, low, high = float(np.log(ratios).mean()), None, None
    at_bound = sum(speedup.is_bound for speedup in speedups)
    most = MOST_AT_BOUND * len(speedups)
    if error is not None and upper_bounds <= most:
        low = float(np.exp(mean - error.half_width))
    if error is not None and at_bound - upper_bounds <= most:
        high = float(np.exp(mean + error.half_width))
    return SpeedupSummary(
        at_bound=at_bound,
        median=float(np.exp(np.median(np.log(ratios)))),
        mean=float(np.exp(mean)),
        low=low,
        high=high,
        share_at_least_4=float((ratios >= PAPER_THRESHOLD * (1 - 1e-9)).mean()),
        error=None if low is None or high is None else error,
    )


def interval_in_words(low: float | None, high: float | None, digits: int = 2) -> str:
    """Returns an interval of which an end may be unknown; an empty text where both are."""
    if low is None or high is None:
        known, words = (high, "at most") if low is None else (low, "at least")
        return "" if known is None else f"{words} {known:.{digits}f}"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def error_of_mean(
    baseline: Curves, candidate: Curves, languages: Int[np.ndarray, " pages"]
) -> StandardError | None:
    """Returns the standard error of the mean log speed-up; None if a language has a single page.

    Args:
        baseline, candidate: losses on the same pages.
        languages: number of each page's language, from 0 on.
    """
    scored = (baseline.sizes > 0) & (candidate.sizes > 0)
    sides = [_Sums(curves, languages, scored) for curves in (baseline, candidate)]
    pages = np.bincount(languages[scored], minlength=languages.max(initial=0) + 1)
    if pages.min(initial=2) < 2:
        return None
    steps = baseline.steps, candidate.steps

    def ratios(*losses: np.ndarray) -> np.ndarray:
        return log_speedups(steps[0], losses[0], steps[1], losses[1])[0]

    means = [side.losses() for side in sides]
    logs = ratios(*means)
    moved = ratios(*(side.without_each_page() for side in sides)) - logs[languages[scored]]
    weights = ((pages - 1) / pages)[languages[scored]]
    of_pages = np.bincount(languages[scored], weights * moved**2) / logs.size**2
    of_runs = []
    for number, side in enumerate(sides):
        count = len(side.amounts)
        if count > 1:
            means_of_rest = []
            for run in range(count):
                losses = [*means]
                losses[number] = side.losses(without=run)
                means_of_rest.append(ratios(*losses).mean())
            squares = float(((np.array(means_of_rest) - logs.mean()) ** 2).sum())
            of_runs.append((squares * (count - 1) / count, count - 1.0))
    return combine_variances(float(of_pages.sum()), freedom_of_sum(of_pages, pages - 1.0), of_runs)


class _Sums:
    """The sums of one side per language, also without a page or without a run."""

    def __init__(self, curves: Curves, languages: np.ndarray, scored: np.ndarray):
        self.amounts, self.sizes = curves.amounts[..., scored], curves.sizes[scored]
        self.languages, self.count = languages[scored], int(languages.max(initial=0)) + 1
        self.of_language = np.bincount(self.languages, self.sizes, self.count)

    def losses(self, without: int | None = None) -> Float[np.ndarray, "languages points"]:
        """Returns the mean losses over runs, or over the others than one of them."""
        runs = self.amounts if without is None else np.delete(self.amounts, without, axis=0)
        return self._by_language(runs.mean(axis=0)) / self.of_language[:, None]

    def without_each_page(self) -> Float[np.ndarray, "pages points"]:
        """Returns the mean losses of each page's language without that page."""
        amounts = self.amounts.mean(axis=0)
        rest = self._by_language(amounts)[self.languages] - amounts.T
        return rest / (self.of_language[self.languages] - self.sizes)[:, None]

    def _by_language(self, amounts: np.ndarray) -> np.ndarray:
        points = [np.bincount(self.languages, point, self.count) for point in amounts]
        return np.stack(points, axis=1)


class LogRatio(NamedTuple):
    """A ratio that was estimated by its logarithm.

    Attributes:
        log: logarithm of the ratio.
        error: standard error of the logarithm; None if it is unknown.
    """

    log: float
    error: StandardError | None

    @property
    def ratio(self) -> float:
        """The ratio."""
        return math.exp(self.log)

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """The 95% interval of the ratio; None twice if the error is unknown."""
        if self.error is None:
            return None, None
        half = self.error.half_width
        return math.exp(self.log - half), math.exp(self.log + half)


def step_time_ratio(
    baseline: Float[np.ndarray, " rounds"], candidate: Float[np.ndarray, " rounds"]
) -> LogRatio:
    """Returns the baseline's step time ÷ the candidate's; above 1 the candidate's step is faster.

    Args:
        baseline, candidate: seconds of equally many steps per round, of two rounds or more.
    """
    logs = np.log(baseline) - np.log(candidate)
    error = StandardError(float(logs.var(ddof=1)) / logs.size, logs.size - 1.0)
    return LogRatio(float(logs.mean()), error)


def time_speedup(step_speedup: LogRatio, step_times: LogRatio) -> LogRatio:
    """Returns the product of a step speed-up and a ratio of step times."""
    log = step_speedup.log + step_times.log
    if step_speedup.error is None or step_times.error is None:
        return LogRatio(log, None)
    steps, seconds = step_speedup.error, step_times.error
    of_rounds = (seconds.variance, seconds.degrees_of_freedom)
    return LogRatio(log, combine_variances(steps.variance, steps.degrees_of_freedom, [of_rounds]))


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Seconds of both sides' steps, measured in turns.

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
    """Step times of both sides in a report, and the time speed-up.

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
    """Returns the step times and the time speed-up of measured rounds.

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


def sentence(
    times: StepTimes | None, names: tuple[str, str], over: str, no_verdict: str = ""
) -> str:
    """Returns a sentence on step times and speed-up, or how to measure them.

    Args:
        times: the step times; None where none were named.
        names: names of baseline and candidate.
        over: what the interval of the step speed-up is over, in words.
        no_verdict: why no side is called faster; empty where one may be.
    """
    if times is None:
        return (
            "No time speed-up is given: mswitch time measures step times of both sides in turns, "
            "and --step-times adds them."
        )
    baseline, candidate = names
    seconds = (
        f"Measured in turns on {times.devices}, a step takes {times.baseline_step_seconds:.3g} s "
        f"with {baseline} and {times.candidate_step_seconds:.3g} s with {candidate}, a ratio of "
        f"{times.step_time_ratio:.3f} (95% interval {times.step_time_ratio_low:.3f} to "
        f"{times.step_time_ratio_high:.3f}, over {times.rounds} rounds)."
    )
    return f"{seconds} {_in_time(times, names, over, no_verdict)}"


def _in_time(times: StepTimes, names: tuple[str, str], over: str, no_verdict: str) -> str:
    low, high = times.time_speedup_low, times.time_speedup_high
    if times.time_speedup is None:
        return "Without a step speed-up no time speed-up follows."
    if low is None or high is None:
        return f"The mean time speed-up is {times.time_speedup:.2f}, without an interval."
    ends = f"95% interval {low:.2f} to {high:.2f}, over {over.removesuffix(' only')} and the rounds"
    meaning = no_verdict or _meaning(low, high, *names)
    return f"The mean time speed-up is {times.time_speedup:.2f} ({ends}): {meaning}."


def _meaning(low: float, high: float, baseline: str, candidate: str) -> str:
    if low <= 1 <= high:
        return "no difference in time was detected on these devices"
    word = "less" if low > 1 else "more"
    return (
        f"on these devices {candidate} needs {word} time than {baseline} for equal quality, in the "
        "mean over languages"
    )
