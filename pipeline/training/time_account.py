"""Where a run's time went: every second of the loop is booked once, to one activity.

Goodput is the share spent in steps that count. Waiting for data is all time inside the loader, an
upper bound: part of it the devices were still busy with the step before. `time.json` keeps the
account of every start of a run, so that the whole run's time can be added up, and is written with
every line of the log: so it knows of the steps that a killed run had made after its last
checkpoint, which are made again, all but those after its last line.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.stores.json_files import read_json, write_json

ACTIVITIES = (
    "starting",  # reading arguments, checking, restoring
    "compiling",
    "waiting_for_data",
    "stepping",
    "checkpointing",  # as long as the loop stood still for it
    "evaluating",
    "logging",
)
FILE = "time.json"


class TimeAccount:
    """Seconds of one start of a run, by activity; activities nest, the inner one counts.

    Args:
        started: `time.perf_counter()` where the account begins; now if left out.
    """

    def __init__(self, started: float | None = None):
        self.start = uuid.uuid4().hex  # in a container, every start has the same process number
        self.seconds: dict[str, float] = dict.fromkeys(ACTIVITIES, 0.0)
        self._open = ["starting"]
        self._mark = time.perf_counter() if started is None else started

    @contextmanager
    def spend(self, activity: str) -> Iterator[None]:
        """Books what happens inside to an activity."""
        self._book()
        self._open.append(activity)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def shares(self) -> dict[str, float]:
        """Returns each activity's share of all time so far; together 1."""
        self._book()
        return shares(self.seconds)

    def _book(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._mark
        self._mark = now


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Returns each activity's share; together 1."""
    total = sum(seconds.values())
    return {name: spent / total if total else 0.0 for name, spent in seconds.items()}


def describe(seconds: Mapping[str, float]) -> str:
    """Returns a sentence with every activity that took time."""
    parts = [
        f"{name.replace('_', ' ')} {share:.1%} ({seconds[name]:.0f} s)"
        for name, share in shares(seconds).items()
        if seconds[name] >= 0.5
    ]
    return f"goodput {shares(seconds)['stepping']:.1%}: {', '.join(parts)}"


def record(directory: Path, account: TimeAccount, first: int, last: int) -> dict[str, Any]:
    """Writes this start of the run into time.json, beside those before it, and returns it all.

    Args:
        directory: of the run.
        account: of this start.
        first: the step it began after.
        last: the last step that it made.
    """
    path = directory / FILE
    account.shares()  # books up to now
    start = {
        "start": account.start,
        "first_step": first,
        "last_step": last,
        "seconds": account.seconds,
    }
    starts = [*(one for one in _starts(path) if one["start"] != account.start), start]
    # A start that began before where another ended made those steps again.
    again = [max(0, a["last_step"] - b["first_step"]) for a, b in zip(starts, starts[1:])]  # noqa: B905, RUF007
    whole = {name: sum(one["seconds"].get(name, 0.0) for one in starts) for name in ACTIVITIES}
    value = {
        "seconds": whole,
        "shares": shares(whole),
        "goodput": shares(whole)["stepping"],
        "steps_made_again": sum(again),
        "starts": starts,
    }
    write_json(path, value)
    return value


def _starts(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return json.loads(json.dumps(read_json(path)))["starts"]
