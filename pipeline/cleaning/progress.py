"""The progress of a running job on the terminal: pages per second, kept share, time left.

The counts are the runner's counters, where it reports them during the job. The local runner does
not, so there the tallies in the workspace are read. Both grow with every work item and count the
same, so the display is the same everywhere.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from data.errors import DataError
from data.files.paths import is_remote
from pipeline.beam.job import counters
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.tally import Tally, TallyRecord

# Weight of each step's finished work: its share of the CPU time with mC4's rules (102 MB of WET).
WEIGHTS = {
    "read": 0.27, "claim": 0.18, "judge": 0.48,
    "describe": 0.65, "resemble": 0.15, "contract-00": 0.01, "candidates": 0.02,
    "keep": 0.02,
}  # fmt: skip
WRITING = 0.07
UPDATE_SECONDS = 1.0
STORE_UPDATE_SECONDS = 10.0  # each update is one request per step, which stores charge for
LAST_UPDATE_SECONDS = 5.0  # the job does not wait longer for an update that a store delays


class JobProgress:
    """The counts of a running job, updated repeatedly."""

    def __init__(self, workspace: Workspace, items: Mapping[str, int]):
        self._workspace, self._items = workspace, items
        self._seen: dict[str, set[int]] = {step: set() for step in items}
        self._tallied: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()  # by earlier starts
        self._before: Counter[str] = Counter()  # a graph's counters leave out earlier graphs
        self._counts: Counter[str] = Counter()
        self._job: PipelineResult | None = None

    def begin(self) -> None:
        """Records the work of earlier starts of the job."""
        self.update()
        self._begun = Counter(self._tallied)

    def follow(self, job: PipelineResult) -> None:
        """Reads the counters of this graph from here on, while it runs and reports any."""
        self._read_tallies()
        self._before = Counter(self._tallied)
        self._job = job

    def update(self) -> None:
        """Updates the counts."""
        counted = self._counted()
        if counted:
            # Attempted counters can decrease on retry; the display must not.
            self._counts |= self._before + Counter(counted)
        else:
            self._read_tallies()
            self._counts = Counter(self._tallied)

    def _counted(self) -> dict[str, int]:
        """Returns the graph's counters so far; empty if the runner does not report them."""
        if self._job is None:
            return {}
        try:
            return {} if PipelineState.is_terminal(self._job.state) else counters(self._job)
        except Exception:  # each runner raises its own errors; the display must not end a job
            return {}

    def _read_tallies(self) -> None:
        for step, seen in self._seen.items():
            finished = set(self._workspace.done(step))
            for number in finished - seen:
                tally = Tally.of_record(self._workspace.record(step, number, TallyRecord))
                self._tallied.update(tally.counters() | {f"pieces/{step}": 1})
            seen |= finished

    @property
    def done(self) -> float:
        """Share of the work that is finished; the writing of files counts only at the end."""
        weights = {step: WEIGHTS[step] for step in self._items}
        parts = (
            weights[step] * self._counts[f"pieces/{step}"] / items
            for step, items in self._items.items()
        )
        return sum(parts) / (sum(weights.values()) + WRITING)

    def line(self, seconds: float) -> str:
        """Returns the progress so far, in one line."""
        read, kept = self._counts["pages_read"], self._counts["pages_kept"]
        rejected = sum(n for name, n in self._counts.items() if name.startswith("rejected/"))
        share = f", {kept / (kept + rejected):.0%} kept" if kept else ""
        rate = (read - self._begun["pages_read"]) / max(seconds, 1e-9)
        return f"{read:,} pages, {rate:,.0f} per second{share}"


@contextlib.contextmanager
def progress_shown(
    workspace: Workspace, items: Mapping[str, int], console: Console
) -> Iterator[JobProgress]:
    """Shows the progress of a job during the block.

    Args:
        workspace: workspace of the job.
        items: number of work items of each step.
        console: console to print on.
    """
    shown, ended, started = JobProgress(workspace, items), threading.Event(), time.monotonic()
    shown.begin()
    columns = (
        TextColumn("clean"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    pause = STORE_UPDATE_SECONDS if is_remote(workspace.out) else UPDATE_SECONDS
    # Rich's default, 10 times per second, took 4 % of the job's CPU time.
    with Progress(*columns, console=console, transient=True, refresh_per_second=1) as bar:
        task = bar.add_task("", total=1.0)

        def keep_updating() -> None:
            while not ended.wait(pause):
                with contextlib.suppress(OSError, DataError):  # of a store: the job will report it
                    shown.update()
                line = shown.line(time.monotonic() - started)
                bar.update(task, completed=shown.done, description=line)

        thread = threading.Thread(target=keep_updating, daemon=True)
        thread.start()
        try:
            yield shown
        finally:
            ended.set()
            thread.join(LAST_UPDATE_SECONDS)
