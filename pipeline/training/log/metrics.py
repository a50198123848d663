"""The log of a run: a line of `metrics.jsonl` per some steps, its curves and its live view.

A line reduces the steps since the line before to one. Losses of the steps are summed and divided by
their tokens; a mean of per-step means would weight tokens unequally. Step times include waiting for
data, and exclude compiling, evaluating, checkpointing and logging, which `time_account.py` books
apart. A line is due every `log_every` steps and at every checkpoint. A resumed run writes the same
lines as an uninterrupted one, but for one line where it was stopped.

In a store, files are written whole: before each checkpoint, which counts on their lines, after each
evaluation and at the end.

Curves are TensorBoard's. tensorboardX's own `SummaryWriter` writes in a thread, which a full disk
ends; the next scalars then fill its queue, and the program waits forever. Here an error of the disk
is raised where it happens.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any

import jax
import numpy as np
from msgspec import Struct
from rich.console import Console
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from data.errors import DataError
from data.files.atomic import write_bytes
from data.files.growing_files import GrowingFile, WorkingFolder
from data.files.json_files import decode_json
from data.files.paths import Address, Place, exists, read_bytes
from model.loss.training_loss import Losses
from model.step import GradientSite, StepMetrics
from model.switch.balancing import LayerRouting
from pipeline.hardware.hosts import is_first
from pipeline.hardware.peaks import peak_flops
from pipeline.recipe.recipe import Recipe, step_flops
from pipeline.runs.directory import RECIPE, find_run
from pipeline.training.evaluation import Scored
from pipeline.training.log import alarms, time_account
from pipeline.training.log.alarms import EVERY, RouterWatch, SkippedSteps, switch_layers
from pipeline.training.log.live_view import LiveView
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking

Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]


class EventFile:
    """The scalars that one start of a run adds; those of earlier starts from `first` on are hidden.

    Args:
        directory: directory of the files of all starts.
        first: first step of this start.
    """

    def __init__(self, directory: Place, first: int):
        self._folder = WorkingFolder(directory)
        self._writer = EventsWriter(str(self._folder.here / "events"))
        self._write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds the value of a curve at a step."""
        self._write(Event(step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """Writes what was added to the disk, where TensorBoard reads it."""
        self._writer.flush()

    def publish(self) -> None:
        """Writes what was added to the store, if the directory is in one."""
        self.flush()
        self._folder.publish()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
        self._folder.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)


DAYS = 2  # left, of which a caution tells
ROUTING = ("balance_loss", "router_z_loss", "dropped_share", "wasted_share", "router_entropy_nats")


def summary(metrics: Sequence[StepMetrics]) -> dict[str, float]:
    """Returns the loss over all steps of the interval, and the means of the other metrics.

    Skipped steps are counted and left out of every other number.
    """
    taken = [step for step in metrics if not step.skipped]
    line = {"skipped": len(metrics) - len(taken), "learning_rate": float(metrics[-1].learning_rate)}
    if not taken:
        return line
    losses = [step.losses for step in taken]
    return line | {
        "loss_nats": math.fsum(float(loss.loss_nats) for loss in losses)
        / max(target_tokens(losses), 1),
        **soft_loss(losses),
        "gradient_norm": fmean(step.gradient_norm for step in taken),
        **{name: fmean(getattr(loss, name) for loss in losses) for name in ROUTING},
        **worst_layer([loss.layers for loss in losses if loss.layers is not None]),
    }


def soft_loss(losses: Sequence[Losses]) -> dict[str, float]:
    """Returns a student's loss against its teacher in nats per target token; {} if no teacher."""
    sums = [float(loss.soft_loss_nats) for loss in losses if loss.soft_loss_nats is not None]
    return {"soft_loss_nats": math.fsum(sums) / max(target_tokens(losses), 1)} if sums else {}


def target_tokens(losses: Sequence[Losses]) -> int:
    """Returns the target tokens of all steps; their int32 sum would overflow at mT5's size."""
    return sum(int(loss.target_tokens) for loss in losses)


def worst_layer(layers: Sequence[LayerRouting]) -> dict[str, float]:
    """Returns the switch layer with the busiest expert, and that expert's load over an even load.

    Switch layers are counted from 1, the encoder's before the decoder's. The load is 1 if routing
    is even, and the number of experts if all tokens choose one expert. Returns {} for a dense
    network.
    """
    if not layers:
        return {}
    load = np.sum([routing.load for routing in layers], axis=0)
    busiest = load.max(axis=1) / np.maximum(load.mean(axis=1), 1e-9)
    worst = int(np.argmax(busiest))
    return {"worst_layer": worst + 1, "worst_layer_load": float(busiest[worst])}


def speed(recipe: Recipe, seconds: float) -> dict[str, float]:
    """Returns tokens per second and model FLOPs utilization of a step that took `seconds`.

    The utilization is left out for devices of unknown peak; all is left out if no time was taken.
    """
    if seconds <= 0:
        return {}
    lengths = recipe.lengths
    tokens = recipe.rows * (lengths.inputs + lengths.targets)
    speeds = {"seconds": seconds, "tokens_per_second": tokens / seconds}
    if peak := peak_flops(jax.devices()[0].device_kind):
        speeds["model_flops_utilization"] = (
            step_flops(recipe) / seconds / (peak * jax.device_count())
        )
    return speeds


def curves(line: Mapping[str, Any], *, sparse: bool) -> Iterator[str]:
    """Yields the names in a line that get a curve: no counters, and no routing if dense."""
    for name in line:
        if name not in ("step", "steps") and (sparse or name not in ROUTING):
            yield name


def long_run_caution(recipe: Recipe, step: int, seconds: float) -> str:
    """Returns how many days the other steps take at a step's pace; "" for fewer than `DAYS`."""
    left = (recipe.steps - step) * seconds
    if left < DAYS * 86_400:
        return ""
    return (
        f"{left / 86_400:,.0f} days are left at the first step's {seconds:.3g} s per step; "
        f"--set steps={step + int(86_400 / seconds)} ends within one."
    )


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
            for path in (self.lines.path, self.out / alarms.SKIPPED_FILE, self.watch.lines.path):
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
        """Adds the metrics of a step; waits for their values only if a line is due.

        The watch on routers reads steps before it, which are finished.
        """
        self.waiting.append(metrics)
        self.watch.add(metrics)
        if step == self.first + 1 and step % self.recipe.log_every:
            self.show_first(step, metrics)
        if step % EVERY == 0:
            with self.account.spend("logging"):
                self.view.faults = self.watch.look(step - 1, in_flight=1)
        if step % self.recipe.log_every == 0:
            self.write_line(step)

    def show_first(self, step: int, metrics: StepMetrics) -> None:
        """Shows this start's first step once it is made, which may be long before a line is due."""
        with self.account.spend("stepping"):
            jax.block_until_ready(metrics)
        if not is_first():
            return
        seconds = self._seconds() - self._taken
        numbers = summary([jax.device_get(metrics._replace(trace=None))])  # pyright: ignore[reportArgumentType]
        line = {"step": step} | numbers | speed(self.recipe, seconds)
        self.view.show(line | self.held_out, self.account.shares())
        if caution := long_run_caution(self.recipe, step, seconds):
            self.view.print_line(f"{self.recipe.stage}: caution: {caution}")

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
            self._write(step, jax.device_get([step._replace(trace=None) for step in waiting]))  # pyright: ignore[reportArgumentType]
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

    def add_evaluation(self, step: int, scored: Scored) -> None:
        """Adds the numbers of an evaluation."""
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


class NumberedLine(Struct, frozen=True):
    """What every line of a log has."""

    step: int


def _step_of(line: bytes) -> float:
    try:
        return decode_json(line, NumberedLine, "a line").step
    except DataError:
        return float("inf")  # cut by a kill; the step is repeated
