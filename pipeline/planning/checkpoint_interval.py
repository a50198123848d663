"""How often to save: the interval between checkpoints that loses the least time.

Too rare, and a failure repeats much; too often, and the saves themselves take the time. Source:
Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006; its
first term is Young's of 1974. There a save stops the work. Here the work stops while arrays are
copied, and the rest is written in the background. That part delays every checkpoint alike, so it
moves no optimum, but the next save cannot begin before it ends.
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
