"""The progress of a running job on the terminal: pages per second, kept share, time left.

Where a runner reports during the job, its counters are shown. The local runner does not; there the
tallies in the workspace are read. Both grow with every work item and count the same, so the view is
the same everywhere.
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

# Share of each step in the CPU time with mC4's rules, to weigh finished work (102 MB of WET).
WEIGHTS = {
    "read": 0.26, "newest": 0.01, "claim": 0.16, "share": 0.02, "judge": 0.48,
    "describe": 0.65, "resemble": 0.15, "alike": 0.02, "choose": 0.01,
}  # fmt: skip
WRITING = 0.07
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LOOKS_AT_A_STORE = (
    10.0  # each look is one request per step, which stores charge for
)
LAST_LOOK_SECONDS = 5.0  # the job does not wait for a look that a store delays


class Watch:
    """Looks at a run repeatedly."""

    def __init__(self, workspace: Workspace, pieces: Mapping[str, int]):
        self._workspace, self._pieces = workspace, pieces
        self._seen: dict[str, set[int]] = {step: set() for step in pieces}
        self._tallied: Counter[str] = Counter()
        self._before: Counter[str] = Counter()  # a job's counters cover only its own work
        self._counts: Counter[str] = Counter()
        self._job: PipelineResult | None = None

    def begin(self) -> None:
        """Records the work of earlier starts of the run."""
        self.look()
        self._before = Counter(self._tallied)

    def follow(self, job: PipelineResult) -> None:
        """Follows this job's counters from here on, if it reports any."""
        self._job = job

    def look(self) -> None:
        """Updates the counts."""
        counted = self._counted()
        if counted:
            self._counts |= self._before + Counter(
                counted
            )  # attempted counters can decrease on retry; the display must not
        else:
            self._look_at_tallies()
            self._counts = Counter(self._tallied)

    def _counted(self) -> dict[str, int]:
        """Returns the job's counters so far; empty where the runner does not report them."""
        if self._job is None:
            return {}
        try:
            return counters(self._job)
        except Exception:  # each runner has errors of its own; the display must not end a job
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
        """Share of the work that is finished; writing counts only at its end."""
        weights = {step: WEIGHTS[step] for step in self._pieces}
        parts = (
            weights[step] * self._counts[f"pieces/{step}"] / pieces
            for step, pieces in self._pieces.items()
        )
        return sum(parts) / (sum(weights.values()) + WRITING)

    def line(self, seconds: float) -> str:
        """Returns the progress so far, in one line."""
        read, kept = self._counts["pages_read"], self._counts["pages_kept"]
        rejected = sum(n for name, n in self._counts.items() if name.startswith("rejected/"))
        share = f", {kept / (kept + rejected):.0%} kept" if kept else ""
        rate = (read - self._before["pages_read"]) / max(seconds, 1e-9)
        return f"{read:,} pages, {rate:,.0f} a second{share}"


@contextlib.contextmanager
def watched(workspace: Workspace, pieces: Mapping[str, int], console: Console) -> Iterator[Watch]:
    """Shows the progress of a run during the block.

    Args:
        workspace: workspace of the run.
        pieces: number of work items of each step.
        console: console to print on.
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
    # Rich draws 10 times per second by default, which was 4 % of the job's CPU time.
    with progress.Progress(*columns, console=console, transient=True, refresh_per_second=1) as bar:
        task = bar.add_task("", total=1.0)

        def keep_looking() -> None:
            while not over.wait(pause):
                with contextlib.suppress(
                    OSError, DataError
                ):  # of a store: the job itself will report it
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
