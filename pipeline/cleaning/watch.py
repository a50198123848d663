"""What a running job says on the terminal: pages a second, kept share, time left.

It is read off the workspace, not off the runner: tallies appear there wherever the work is done. So
the view is the same for a job on this machine and for one that this machine only launched.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from rich import progress
from rich.console import Console

from pipeline import storage
from pipeline.cleaning.workspace import Workspace

# Part of the CPU time that a step takes with mC4's rules, to weigh what is done (102 MB of WET).
WEIGHTS = {
    "read": 0.26, "newest": 0.01, "claim": 0.16, "share": 0.02, "judge": 0.48,
    "describe": 0.65, "resemble": 0.15, "alike": 0.02, "choose": 0.01,
}  # fmt: skip
WRITING = 0.07
SECONDS_BETWEEN_LOOKS = 1.0


class Watch:
    """Looks at the tallies of a run, each once."""

    def __init__(self, workspace: Workspace, pieces: Mapping[str, int]):
        self._workspace, self._pieces = workspace, pieces
        self._seen: dict[str, set[str]] = {step: set() for step in pieces}
        self._counts: Counter[str] = Counter()
        self._read_before = 0

    def begin(self) -> None:
        """Takes note of what an earlier start of the run has done."""
        self.look()
        self._read_before = self._counts["read"]

    def look(self) -> None:
        """Takes note of the tallies that are new."""
        for step, seen in self._seen.items():
            directory = storage.join(self._workspace.directory, step)
            names = {name for name in storage.names_in(directory) if name.endswith(".json")}
            for name in sorted(names - seen):
                tally = self._workspace.tally(step, int(name.removesuffix(".json")))
                for (kind, _, _), count in tally.counts.items():
                    self._counts[kind] += count
            seen |= names

    @property
    def done(self) -> float:
        """Part of the work that is done; of the writing nothing is known until its end."""
        weights = {step: WEIGHTS[step] for step in self._pieces}
        parts = (
            weights[step] * len(seen) / self._pieces[step] for step, seen in self._seen.items()
        )
        return sum(parts) / (sum(weights.values()) + WRITING)

    def line(self, seconds: float) -> str:
        """Returns what is known so far, in one line."""
        read, judged = self._counts["read"], self._counts["kept"] + self._counts["rejected"]
        kept = f", {self._counts['kept'] / judged:.0%} kept" if self._counts["kept"] else ""
        rate = (read - self._read_before) / max(seconds, 1e-9)
        return f"{read:,} pages, {rate:,.0f} a second{kept}"


@contextlib.contextmanager
def watched(workspace: Workspace, pieces: Mapping[str, int], console: Console) -> Iterator[None]:
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
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def keep_looking() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                watch.look()
                line = watch.line(time.monotonic() - started)
                bar.update(task, completed=watch.done, description=line)

        thread = threading.Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
