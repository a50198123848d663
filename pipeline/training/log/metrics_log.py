"""The log of a run: `metrics.jsonl`, TensorBoard events and a live view in the terminal.

Step times include waiting for data, and exclude compiling, evaluating, checkpointing and logging,
which `time_account.py` books apart. A line is due every `log_every` steps and at every checkpoint.
A resumed run writes the same lines as an uninterrupted one, but for one line where it was stopped.
In a store, files are written whole: before each checkpoint, which counts on their lines, after each
evaluation and at the end.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
from msgspec import Struct
from rich.console import Console

from data.errors import DataError
from data.files.atomic import write_bytes
from data.files.growing_files import GrowingFile
from data.files.json_files import decode_json
from data.files.paths import Address, Place, exists, read_bytes
from model.step import GradientSite, StepMetrics
from pipeline.hardware.coordination import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import RECIPE, find_run
from pipeline.training.evaluation.evaluator import Scored
from pipeline.training.log import skipped_steps, time_account
from pipeline.training.log.event_file import EventFile
from pipeline.training.log.live_view import LiveView
from pipeline.training.log.metrics_line import curves, speed, summary
from pipeline.training.log.router_watch import EVERY, RouterWatch, switch_layers
from pipeline.training.log.skipped_steps import SkippedSteps
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking


class MetricsLog:
    """Writes the log of one start of a run; a context manager.

    Args:
        recipe: the run's recipe.
        out: the run's directory.
        first: step that this start resumes after.
        account: account of this start's time.
        console: console of the live view.
        sites: parameter groups of the model, in the order of the gradient squares in a trace.
        languages: language codes, in the order of the language numbers in a batch.
        tracking: trackers that get the same curves as TensorBoard.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Place,
        first: int,
        *,
        account: TimeAccount,
        console: Console,
        sites: Sequence[GradientSite],
        languages: Sequence[str],
        tracking: Tracking,
    ):
        self.recipe, self.out, self.first, self.last = recipe, out, first, first
        self.account, self.tracking = account, tracking
        self.lines = GrowingFile(out / "metrics.jsonl")
        self.waiting: list[StepMetrics] = []
        self.view = LiveView(recipe.name, recipe.steps, console, switch_layers(sites))
        self.skipped = SkippedSteps(recipe, out, sites, languages, self.view.print_line)
        warm_up = recipe.optimizer.warm_up_steps
        self.watch = RouterWatch(
            recipe.stage, out, sites, self.view.print_line, warm_up, routers_begin_at(out)
        )
        self.line: dict[str, Any] = {"step": first}
        self.held_out: dict[str, float] = {}
        self._taken = self._seconds()

    def __enter__(self) -> "MetricsLog":
        if is_first():
            for path in (self.lines.path, self.out / skipped_steps.FILE, self.watch.lines.path):
                forget_after(path, self.first)
            self.events = EventFile(self.out / "tensorboard", self.first + 1)
            self.view.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if is_first():
            self.view.__exit__()
            with suppress(*() if kind is None else (DataError,)):  # the first error is the cause
                self.publish()
            self.events.close()

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Takes the metrics of a step; waits for their values only if a line is due.

        The watch on routers reads steps before it, which are finished.
        """
        self.waiting.append(metrics)
        self.watch.add(metrics)
        if step % EVERY == 0:
            with self.account.spend("logging"):
                self.view.show_faults(self.watch.look(step - 1, in_flight=1))
        if step % self.recipe.log_every == 0:
            self.write_line(step)

    def write_line(self, step: int) -> None:
        """Writes the line of the steps since the last line.

        Raises:
            ArtifactError: if too many updates in a row were skipped.
        """
        if not self.waiting:
            return
        with self.account.spend("stepping"):
            jax.block_until_ready(self.waiting[-1])
        with self.account.spend("logging"):
            waiting, self.waiting = self.waiting, []
            before, self.last = self.last, step
            self._write(step, jax.device_get([one._replace(trace=None) for one in waiting]))  # pyright: ignore[reportArgumentType]
            self.skipped.record(before, waiting)
            if is_first() and not isinstance(self.out, Address):
                time_account.record(self.out, self.account, self.first, step)

    def publish(self) -> None:
        """Writes the files of a run in a store; those of a local run are written already.

        A checkpoint counts on the lines up to its step, so it is saved after this.

        Raises:
            DataError: if the store cannot be written.
        """
        if is_first() and isinstance(self.out, Address):
            with self.account.spend("logging"):
                self.lines.publish()
                self.skipped.lines.publish()
                self.watch.lines.publish()
                self.events.publish()
                time_account.record(self.out, self.account, self.first, self.last)

    def scored(self, step: int, scored: Scored) -> None:
        """Takes an evaluation."""
        if scored.mean is None:
            return
        self.view.show_gaps(step, scored.gaps)
        self.held_out = {f"held_out_{scored.measure}": scored.mean, "held_out_step": step}
        by_language = {
            f"held-out-by-language/{code}": value for code, value in scored.by_language.items()
        }
        self._draw({f"held-out/{scored.measure}": scored.mean, **by_language}, step)
        self.doing("")

    def doing(self, activity: str) -> None:
        """Shows an activity other than stepping in the live view."""
        if is_first() and self.view.console.is_terminal:
            self.view.show(self.line | self.held_out, self.account.shares(), activity)

    def _write(self, step: int, metrics: list[StepMetrics]) -> None:
        before, self._taken = self._taken, self._seconds()
        seconds = self._taken - before
        line = {"step": step, "steps": len(metrics)} | summary(metrics)
        self.line = line | speed(self.recipe, seconds / len(metrics))
        if not is_first():
            return
        self.lines.add(json.dumps(self.line))
        drawn = curves(self.line, sparse=self.recipe.model.switch is not None)
        self._draw({f"training/{name}": self.line[name] for name in drawn}, step)
        self.events.flush()
        self.view.show(self.line | self.held_out, self.account.shares())

    def _seconds(self) -> float:
        booked = self.account.seconds
        return booked["stepping"] + booked["waiting_for_data"]

    def _draw(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self.events.add_scalar(name, value, step)
        self.tracking.add(numbers, step)


def routers_begin_at(out: Place) -> int:
    """Returns the step at which the routers of a run were drawn: 0, or where it was upcycled."""
    upcycled = find_run(out).upcycled if exists(out / RECIPE) else None
    return 0 if upcycled is None else upcycled.begins_at


def forget_after(path: Place, step: int) -> None:
    """Drops the lines of later steps, which will be repeated, and a last line cut by a kill."""
    if not exists(path):
        return
    content = read_bytes(path)
    kept = [line for line in content.splitlines() if _step_of(line) <= step]
    if (left := b"".join(line + b"\n" for line in kept)) != content:
        write_bytes(path, left)


class LoggedStep(Struct, frozen=True):
    """What every line of a log has."""

    step: int


def _step_of(line: bytes) -> float:
    try:
        return decode_json(line, LoggedStep, "a line").step
    except DataError:
        return float("inf")  # cut by a kill; the step is repeated
