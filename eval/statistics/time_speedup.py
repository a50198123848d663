"""Time speed-up: the step speed-up times a ratio of step times, and its interval.

    time speed-up = step speed-up × seconds per step of the baseline ÷ those of the candidate

Steps of both sides hold equally many tokens. Seconds come from two runs that take turns in one
process, some steps each per round (docs/decisions/step-times.md). What slows the machine for longer
than a round slows both alike, so a round's ratio is what counts. The estimate is the mean over
rounds of the logarithm of their ratios, with Student's t interval over rounds: exactly 1 for equal
seconds, and the reciprocal for exchanged sides.

Steps and seconds are measured apart, so the variances of the two logarithms add up. Degrees of
freedom: `standard_error.combined`. There is no random number.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.statistics.standard_error import StandardError, combined


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
    return LogRatio(log, combined(steps.variance, steps.degrees_of_freedom, [of_rounds]))
