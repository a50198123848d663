"""The account of a run's time: every second of the loop is booked once, to one activity.

Goodput is the share of time spent in steps. Waiting for data is all time inside the loader after
the first batch, which is an upper bound: during part of it the devices still computed a step.
`time.json` holds the account of every start of a run, so that the whole run's time can be added up.
It is written with every line of the log. It therefore counts the steps between a killed run's last
checkpoint and last line, which are repeated.
"""

import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from data.files.json_files import read_json, write_json
from data.files.paths import Place, exists

ACTIVITIES = (
    "starting",  # arguments, checks, restoring, the first batch
    "compiling",
    "waiting_for_data",
    "stepping",
    "checkpointing",  # only while the loop is blocked
    "evaluating",
    "logging",
)
FILE = "time.json"


class RunStart(Struct, frozen=True):
    """One start of a run.

    Attributes:
        start: identity of the start.
        first_step: step that it resumed after.
        last_step: its last step.
        seconds: seconds by activity.
        began: date and time of its begin, UTC; empty where an earlier version wrote the file.
        ended: date and time of its last record, UTC.
    """

    start: str
    first_step: int
    last_step: int
    seconds: dict[str, float]
    began: str = ""
    ended: str = ""


class Starts(Struct, frozen=True):
    """What is read of time.json."""

    starts: list[RunStart]


class TimeAccount:
    """Seconds of one start of a run, by activity; of nested activities the innermost is booked."""

    def __init__(self):
        self.start = uuid.uuid4().hex  # a process number is equal at every start in a container
        self.seconds: dict[str, float] = dict.fromkeys(ACTIVITIES, 0.0)
        self.began = _now()
        self._open = ["starting"]
        self._mark = time.perf_counter()

    @contextmanager
    def spend(self, activity: str) -> Iterator[None]:
        """Books the time inside the context to an activity."""
        self._book()
        self._open.append(activity)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def shares(self) -> dict[str, float]:
        """Returns each activity's share of the time so far; the shares sum to 1."""
        self._book()
        return shares(self.seconds)

    def _book(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._mark
        self._mark = now


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Returns each activity's share; the shares sum to 1."""
    total = math.fsum(seconds.values())
    return {name: spent / total if total else 0.0 for name, spent in seconds.items()}


def describe(seconds: Mapping[str, float]) -> str:
    """Returns the goodput and every activity of at least half a second, as text."""
    parts = [
        f"{name.replace('_', ' ')} {share:.1%} ({seconds[name]:.0f} s)"
        for name, share in shares(seconds).items()
        if seconds[name] >= 0.5
    ]
    return f"goodput {shares(seconds)['stepping']:.1%}: {', '.join(parts)}"


def record(directory: Place, account: TimeAccount, first: int, last: int) -> dict[str, Any]:
    """Writes this start of the run into time.json and returns the file's content.

    Args:
        directory: the run's directory.
        account: account of this start.
        first: step that this start resumed after.
        last: last step of this start.
    """
    path = directory / FILE
    account.shares()  # books the time up to now
    this = RunStart(account.start, first, last, account.seconds, account.began, _now())
    starts = [*(start for start in _starts(path) if start.start != account.start), this]
    # A start that resumed before the last step of the start before it repeated those steps.
    again = [max(0, a.last_step - b.first_step) for a, b in zip(starts, starts[1:])]  # noqa: B905, RUF007
    whole = {
        name: math.fsum(start.seconds.get(name, 0.0) for start in starts) for name in ACTIVITIES
    }
    value = {
        "seconds": whole,
        "shares": shares(whole),
        "goodput": shares(whole)["stepping"],
        "steps_made_again": sum(again),
        "starts": [asdict(start) for start in starts],
    }
    write_json(path, value)
    return value


def evaluating_seconds(directory: Place) -> float:
    """Returns the seconds that all starts of a run spent with evaluations; 0 if none is known."""
    starts = _starts(directory / FILE)
    return math.fsum(start.seconds.get("evaluating", 0.0) for start in starts)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _starts(path: Place) -> list[RunStart]:
    return read_json(path, Starts).starts if exists(path) else []
