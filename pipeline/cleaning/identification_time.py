"""Seconds of language identification per work item, which the job's counters report."""

import contextlib
import threading
import time
from collections.abc import Iterator

from pipeline.cleaning.tally import Tally

_spent = threading.local()


@contextlib.contextmanager
def identification_timed() -> Iterator[None]:
    """Adds the time of the block to this thread's seconds of language identification."""
    started = time.perf_counter()
    yield
    _spent.seconds = _seconds() + time.perf_counter() - started


@contextlib.contextmanager
def counted_in(tally: Tally) -> Iterator[None]:
    """Adds the seconds of language identification in the block to the tally."""
    before = _seconds()
    yield
    tally.identification_seconds += _seconds() - before


def _seconds() -> float:
    return getattr(_spent, "seconds", 0.0)
