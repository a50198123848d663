"""Seconds of language identification per work item, which the job's counters report."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.beam.workspace import Workspace
from pipeline.cleaning.tally import Tally

_spent = threading.local()


@dataclass(frozen=True)
class TimedStep:
    """Adds the seconds of language identification to the tallies of a step."""

    timed: Any

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        return self.timed.workspace

    @property
    def step(self) -> str:
        """Name of the step in the workspace."""
        return self.timed.step

    def __call__(self, number: int) -> Tally:
        """Processes one work item."""
        before = _seconds()
        tally = self.timed(number)
        tally.identification_seconds = _seconds() - before
        return tally


@contextlib.contextmanager
def identification_timed() -> Iterator[None]:
    """Adds the time of the block to this thread's seconds of language identification."""
    started = time.perf_counter()
    yield
    _spent.seconds = _seconds() + time.perf_counter() - started


def _seconds() -> float:
    return getattr(_spent, "seconds", 0.0)
