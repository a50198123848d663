"""Step speed-up: how many times fewer steps the candidate needs for the baseline's final quality.

Reference: Fedus et al. 2022 (Switch Transformer), section 4.3, footnote 9 and figure 8: the
baseline's number of steps ÷ the steps the candidate needs to reach the baseline's *final* loss in a
language. The unit is a ratio; above 1 the candidate is faster.

What to believe about noise. "Reaches" is, as in the paper, the first evaluation at or below the
target; between it and the one before, the step is interpolated linearly (a loss curve is convex
where it matters, so the line lies above it and the step comes out late rather than early). A noisy
curve may touch the target and leave it again. So `lasting` stands beside it: the same ratio for the
step from which on *no* evaluation is worse than the target. Where the two part, the noise speaks.

A target that is never reached gives None and a bound: the speed-up is less than baseline steps ÷
the candidate's last step. It is never dropped: medians, means and shares below run over all
languages, with the bound in the place of what is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Switch, section 4.3: a mean of 5x over 101 languages, at least 4x in 91 % of them.
PAPER_MEAN = 5.0
PAPER_THRESHOLD = 4.0
PAPER_SHARE_AT_LEAST_4 = 0.91


@dataclass(frozen=True)
class StepSpeedup:
    """One language's speed-up.

    Attributes:
        first: by the first evaluation that reaches the target; None if none does.
        lasting: by the first evaluation after which none is worse; None if the last one is.
        bound: what the speed-up is below if `first` is None.
        steps: the candidate's interpolated step behind `first`.
    """

    first: float | None
    lasting: float | None
    bound: float
    steps: float | None


@dataclass(frozen=True)
class SpeedupSummary:
    """All languages, those that do not reach the target included.

    Attributes:
        not_reached: languages whose target is never reached.
        median: over all languages, a not-reached one counted at its bound.
        median_is_bound: True when the median itself is such a bound ("less than").
        mean: over all languages, a not-reached one counted at its bound: at most this.
        mean_reached: over the languages that reach the target only; None if none does.
        median_lasting, mean_lasting: as `median` and `mean`, for lasting speed-ups.
        share_at_least_4: share of all languages; a not-reached one does not count.
    """

    not_reached: int
    median: float
    median_is_bound: bool
    mean: float
    mean_reached: float | None
    median_lasting: float
    mean_lasting: float
    share_at_least_4: float


def step_speedup(
    baseline_steps: Int[np.ndarray, " baseline_evaluations"],
    baseline_loss: Float[np.ndarray, " baseline_evaluations"],
    candidate_steps: Int[np.ndarray, " candidate_evaluations"],
    candidate_loss: Float[np.ndarray, " candidate_evaluations"],
) -> StepSpeedup:
    """Returns one language's speed-up from its two loss curves, steps ascending."""
    target, steps = float(baseline_loss[-1]), int(baseline_steps[-1])
    reached = candidate_loss <= target
    first = _interpolated_step(candidate_steps, candidate_loss, target, reached)
    lasting = _interpolated_step(candidate_steps, candidate_loss, target, _from_now_on(reached))
    return StepSpeedup(
        first=None if first is None else steps / first,
        lasting=None if lasting is None else steps / lasting,
        bound=steps / int(candidate_steps[-1]),
        steps=first,
    )


def summarise(speedups: Sequence[StepSpeedup]) -> SpeedupSummary:
    """Returns the figures of the summary; every language counts."""
    reached = [speedup.first for speedup in speedups if speedup.first is not None]
    known = np.array([speedup.first is not None for speedup in speedups])
    values = np.array([s.bound if s.first is None else s.first for s in speedups])
    lasting = np.array([s.bound if s.lasting is None else s.lasting for s in speedups])
    median = float(np.median(values))
    return SpeedupSummary(
        not_reached=len(speedups) - len(reached),
        median=median,
        median_is_bound=bool(np.median(np.where(known, values, -np.inf)) < median),
        mean=float(np.mean(values)),
        mean_reached=float(np.mean(reached)) if reached else None,
        median_lasting=float(np.median(lasting)),
        mean_lasting=float(np.mean(lasting)),
        share_at_least_4=sum(value >= PAPER_THRESHOLD for value in reached) / len(speedups),
    )


def time_speedup(
    speedup: float, baseline_step_seconds: float | None, candidate_step_seconds: float | None
) -> float | None:
    """Returns step speed-up × (baseline step seconds ÷ candidate step seconds), or None."""
    if baseline_step_seconds is None or candidate_step_seconds is None:
        return None
    return speedup * baseline_step_seconds / candidate_step_seconds


def _from_now_on(reached: np.ndarray) -> np.ndarray:
    return np.logical_and.accumulate(reached[::-1])[::-1]


def _interpolated_step(
    steps: np.ndarray, loss: np.ndarray, target: float, reached: np.ndarray
) -> float | None:
    """Returns the step at which the curve meets the target, before the first True in `reached`."""
    if not reached.any():
        return None
    at = int(np.argmax(reached))
    if at == 0:
        # Nothing to interpolate from; an untrained model (step 0) counts at the next evaluation.
        return float(steps[steps > 0][0])
    share = (loss[at - 1] - target) / (loss[at - 1] - loss[at])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))
