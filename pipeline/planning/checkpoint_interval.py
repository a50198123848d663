"""How often to save: the interval between checkpoints that loses the least time.

If saves are too rare, a failure repeats much work; if they are too frequent, the saves themselves
take the time. Source: Daly, "A higher order estimate of the optimum checkpoint interval for restart
dumps", 2006; its first term is Young's formula of 1974. In that model a save stops the work until
it ends. Here the work stops only while arrays are copied, and the rest is written in the
background. Background writing delays every checkpoint alike, so it does not move the optimum, but
the next save cannot begin before it ends.
"""

import math


def best_interval(blocked: float, written: float, between_failures: float) -> float:
    """Returns the seconds of work between the beginnings of two saves.

    Args:
        blocked: seconds for which a save holds up the work.
        written: seconds from the beginning of a save until its checkpoint is whole.
        between_failures: mean seconds between two failures.
    """
    if blocked >= 2 * between_failures:
        return max(between_failures, written)
    ratio = math.sqrt(blocked / (2 * between_failures))
    daly = math.sqrt(2 * blocked * between_failures) * (1 + ratio / 3 + ratio**2 / 9) - blocked
    return max(daly, written)
