"""Orbax's deadlines on the monotonic clock.

Orbax counts the seconds of a save by the wall clock, without an option for another. A clock set
forward by five minutes within a save made it fail, and one set back made it wait for that long.
Dates in checkpoints stay the wall clock's: Orbax takes them from `time.time_ns`.
"""

import sys
import time
from types import ModuleType


def use_monotonic_clock() -> None:
    """Replaces `time.time` by the monotonic clock in every module of Orbax that is loaded."""
    clock = ModuleType(time.__name__, time.__doc__)
    vars(clock).update(vars(time) | {"time": time.monotonic})
    for name, module in list(sys.modules.items()):
        if name.startswith("orbax.checkpoint.") and vars(module).get("time") is time:
            vars(module)["time"] = clock
