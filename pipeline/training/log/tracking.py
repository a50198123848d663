"""A run's numbers for trackers that others made: Weights & Biases and MLflow, on request.

Each tracker has a thread, so a slow server holds up no step, and its library is imported only
there. If it fails (no network, a refused key) one sentence says so, and training goes on without
it. `RUN/tracking.json` keeps the tracked run's name at each tracker, so a resumed run continues it.
The steps that a resumed run makes again are sent again, with the same numbers.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Protocol

from data.files.json_files import read_json, write_json
from data.files.paths import Address, Place, exists
from pipeline.errors import ArtifactError
from pipeline.fields import TrackerName
from pipeline.terminal import redact

FILE = "tracking.json"
WRITING = Lock()  # a thread reads and writes the file of all trackers
NAMES: dict[TrackerName, str] = {"wandb": "Weights & Biases", "mlflow": "MLflow"}
PROJECT = "mswitch"  # unless the tracker's own environment variable names another
LONGEST_REASON = 200  # characters of a library's error
# Seconds for a tracker's last numbers; a stopped run must have ended 25 seconds after its signal.
LAST_SECONDS = {"finished": 60.0, "stopped": 5.0, "failed": 5.0}


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run at its start.

    Attributes:
        directory: directory of the run; local records are below it.
        recipe: the recipe as JSON values.
        identity: name of the tracked run that an earlier start began; None at the first.
    """

    directory: Place
    recipe: Mapping[str, Any]
    identity: str | None = None


class Tracker(Protocol):
    """The tracked run at one tracker; any method may raise whatever its library raises."""

    identity: str

    def add(self, numbers: Mapping[str, float], step: int) -> None:
        """Adds numbers of a step, by name."""
        ...

    def end(self, state: str) -> None:
        """Ends the tracked run, which may be continued: `finished`, `stopped` or `failed`."""
        ...


def check_trackers(names: Sequence[TrackerName], out: Place) -> None:
    """Checks that trackers can record a run; in a store their records, files of a disk, cannot lie.

    Raises:
        ArtifactError: if one is not installed, or has no server for a run in a store.
    """
    check_installed(names)
    sends = {
        "wandb": os.environ.get("WANDB_MODE") == "online",
        "mlflow": "MLFLOW_TRACKING_URI" in os.environ,
    }
    if isinstance(out, Address) and (without := [name for name in names if not sends[name]]):
        raise ArtifactError(
            f"--track {' '.join(without)} was given for a run in {out}, where its records cannot "
            "lie; set WANDB_MODE=online or MLFLOW_TRACKING_URI, or name an --out on this machine."
        )


def check_installed(names: Sequence[TrackerName]) -> None:
    """Checks that the libraries of the trackers are installed, without importing them.

    Raises:
        ArtifactError: if one is not.
    """
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise ArtifactError(
            f"--track {' '.join(missing)} was given, which is not installed; "
            f"`make install EXTRAS=demo,dev,{','.join(missing)}` in the checkout installs it."
        )


class Tracking:
    """The trackers of one start of a run; a context manager.

    Args:
        names: names of the trackers; none for no tracking.
        directory: directory of the run.
        recipe: the recipe as JSON values.
        announce: function that prints one sentence.
    """

    def __init__(
        self,
        names: Sequence[TrackerName],
        directory: Place,
        recipe: Mapping[str, Any],
        announce: Callable[[str], None],
    ):
        tracked = TrackedRun(directory=directory, recipe=recipe)
        self.threads = [_TrackerThread(name, tracked, announce) for name in names]
        self.state = "failed"

    def __enter__(self) -> "Tracking":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        deadline = monotonic() + LAST_SECONDS[self.state]
        for thread in self.threads:
            thread.waiting.put(self.state)
        for thread in self.threads:
            thread.end(deadline)

    def add(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers of a step to every tracker, and waits for none."""
        for thread in self.threads:
            if thread.is_alive():
                thread.waiting.put((dict(numbers), step))


def _identities(path: Place) -> dict[str, str]:
    return read_json(path, dict[str, str]) if exists(path) else {}


class _TrackerThread(Thread):
    """Starts one tracker and gives it what waits; ends at its first failure."""

    def __init__(self, name: TrackerName, run: TrackedRun, announce: Callable[[str], None]):
        super().__init__(daemon=True)
        self.tracker_name: TrackerName = name
        self.tracked, self.announce = run, announce
        self.waiting: SimpleQueue[tuple[dict[str, float], int] | str] = SimpleQueue()

    def run(self) -> None:
        name, path = self.tracker_name, self.tracked.directory / FILE
        try:
            module = importlib.import_module(f"pipeline.training.log.{name}_run")
            earlier = _identities(path).get(name)
            tracker: Tracker = module.start(replace(self.tracked, identity=earlier))
            with WRITING:
                if (kept := _identities(path)).get(name) != tracker.identity:
                    write_json(path, kept | {name: tracker.identity})
            while not isinstance(item := self.waiting.get(), str):
                tracker.add(*item)
            tracker.end(item)
        except (Exception, SystemExit) as error:
            self._warn(f"failed ({_reason(error)})")

    def end(self, deadline: float) -> None:
        """Waits for the tracker to end, until the deadline on the monotonic clock."""
        self.join(max(deadline - monotonic(), 0.0))
        if self.is_alive():
            self._warn("did not take the last numbers in time")

    def _warn(self, what: str) -> None:
        name = NAMES[self.tracker_name]
        self.announce(f"caution: {name} {what}; the run goes on, and its own log has all numbers.")


def _reason(error: BaseException) -> str:
    """Returns the first line of an error, shortened once it is redacted."""
    line = redact((str(error).strip() or type(error).__name__).splitlines()[0])
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "..."
