"""What a running job says on the terminal: pages a second, kept share, time left.

A runner that reports while it works is asked for the job's own counters. One that does not (the
local one) leaves tallies in the workspace, which are read there. Both grow with every piece of work
and count the same, so the view is the same everywhere.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from apache_beam.runners.runner import PipelineResult
from rich import progress
from rich.console import Console

from data.errors import DataError
from data.stores.files import is_remote
from pipeline.beam.job import counters
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.tally import Tally

# Part of the CPU time that a step takes with mC4's rules, to weigh what is done (102 MB of WET).
WEIGHTS = {
    "read": 0.26, "newest": 0.01, "claim": 0.16, "share": 0.02, "judge": 0.48,
    "describe": 0.65, "resemble": 0.15, "alike": 0.02, "choose": 0.01,
}  # fmt: skip
WRITING = 0.07
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LOOKS_AT_A_STORE = 10.0  # each look is a request a step, which stores charge for
LAST_LOOK_SECONDS = 5.0  # a look that a store keeps waiting is not waited for


class Watch:
    """Looks at a run, again and again."""

    def __init__(self, workspace: Workspace, pieces: Mapping[str, int]):
        self._workspace, self._pieces = workspace, pieces
        self._seen: dict[str, set[int]] = {step: set() for step in pieces}
        self._tallied: Counter[str] = Counter()
        self._before: Counter[str] = Counter()  # counters of a job count its own work only
        self._counts: Counter[str] = Counter()
        self._job: PipelineResult | None = None

    def begin(self) -> None:
        """Takes note of what an earlier start of the run has done."""
        self.look()
        self._before = Counter(self._tallied)

    def follow(self, job: PipelineResult) -> None:
        """Asks this job from here on, if it tells anything."""
        self._job = job

    def look(self) -> None:
        """Takes note of what is new."""
        counted = self._counted()
        if counted:
            self._counts |= self._before + Counter(counted)  # attempts may take back; a view not
        else:
            self._look_at_tallies()
            self._counts = Counter(self._tallied)

    def _counted(self) -> dict[str, int]:
        """Returns what the job's counters say so far; nothing where the runner does not tell."""
        if self._job is None:
            return {}
        try:
            return counters(self._job)
        except Exception:  # each runner has errors of its own; the view is no reason to end a job
            return {}

    def _look_at_tallies(self) -> None:
        for step, seen in self._seen.items():
            finished = set(self._workspace.done(step))
            for number in finished - seen:
                tally = Tally.of_json(self._workspace.record(step, number))
                self._tallied.update(tally.counters() | {f"pieces/{step}": 1})
            seen |= finished

    @property
    def done(self) -> float:
        """Part of the work that is done; of the writing nothing is known until its end."""
        weights = {step: WEIGHTS[step] for step in self._pieces}
        parts = (
            weights[step] * self._counts[f"pieces/{step}"] / pieces
            for step, pieces in self._pieces.items()
        )
        return sum(parts) / (sum(weights.values()) + WRITING)

    def line(self, seconds: float) -> str:
        """Returns what is known so far, in one line."""
        read, kept = self._counts["pages_read"], self._counts["pages_kept"]
        rejected = sum(n for name, n in self._counts.items() if name.startswith("rejected/"))
        share = f", {kept / (kept + rejected):.0%} kept" if kept else ""
        rate = (read - self._before["pages_read"]) / max(seconds, 1e-9)
        return f"{read:,} pages, {rate:,.0f} a second{share}"


@contextlib.contextmanager
def watched(workspace: Workspace, pieces: Mapping[str, int], console: Console) -> Iterator[Watch]:
    """Shows how far the run is while the block runs.

    Args:
        workspace: of the run.
        pieces: how many pieces each step has.
        console: where to show it.
    """
    watch, over, started = Watch(workspace, pieces), threading.Event(), time.monotonic()
    watch.begin()
    columns = (
        progress.TextColumn("clean"),
        progress.BarColumn(bar_width=30),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.description}"),
        progress.TimeRemainingColumn(),
    )
    here = not is_remote(workspace.out)
    pause = SECONDS_BETWEEN_LOOKS if here else SECONDS_BETWEEN_LOOKS_AT_A_STORE
    # Rich draws 10 times a second if not told otherwise, which was 4 % of the job's CPU time.
    with progress.Progress(*columns, console=console, transient=True, refresh_per_second=1) as bar:
        task = bar.add_task("", total=1.0)

        def keep_looking() -> None:
            while not over.wait(pause):
                with contextlib.suppress(OSError, DataError):  # of a store: the job will say so
                    watch.look()
                line = watch.line(time.monotonic() - started)
                bar.update(task, completed=watch.done, description=line)

        thread = threading.Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            over.set()
            thread.join(LAST_LOOK_SECONDS)
