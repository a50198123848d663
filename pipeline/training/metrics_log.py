"""What a run says of itself: `metrics.jsonl`, TensorBoard events, a live view for the eye.

Step times exclude compiling, evaluating and checkpointing, which are accounted for apart. Losses of
the steps between two lines are summed and divided by their tokens, never averaged twice. A line is
due every `log_every` steps and at every checkpoint, so that a resumed run writes the same lines as
one that was never stopped. Steps that were skipped are told one by one, with their languages.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import jax
import numpy as np
from rich.console import Console
from tensorboardX import SummaryWriter

from model.loss import Losses
from model.nonfinite import GradientSite
from model.switch.routing_sums import LayerRouting
from model.train_step import StepMetrics
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import is_first
from pipeline.hardware.peaks import peak_flops, step_flops
from pipeline.recipe.recipe import Recipe
from pipeline.training import time_account
from pipeline.training.live_view import LiveView
from pipeline.training.skipped_steps import FILE as SKIPPED_FILE
from pipeline.training.skipped_steps import append, describe_step
from pipeline.training.time_account import TimeAccount

ROUTING = ("balance_loss", "router_z_loss", "dropped_share", "wasted_share", "router_entropy_nats")
MOST_SKIPPED = 10  # updates in a row; one or two are a bad batch, ten are a broken run


class Progress:
    """The log of a run.

    Args:
        recipe: the run's.
        out: its directory.
        first: the step it goes on after.
        account: where its time goes.
        console: for the live view.
        sites: of the model's gradients, to say where trouble came from.
        languages: codes, in the order of the numbers in a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        first: int,
        *,
        account: TimeAccount,
        console: Console,
        sites: Sequence[GradientSite],
        languages: Sequence[str],
    ):
        self.recipe, self.out, self.last = recipe, out, first
        self.began_after = first
        self.account = account
        self.sites, self.languages = sites, languages
        self.path = out / "metrics.jsonl"
        self.waiting: list[StepMetrics] = []
        self.skipped_in_a_row = 0
        self.view = LiveView(recipe.name, recipe.steps, console)
        self.line: dict[str, Any] = {"step": first}
        self.held_out: dict[str, float] = {}
        self._stepping = account.seconds["stepping"]

    def __enter__(self) -> "Progress":
        if is_first():
            for path in (self.path, self.out / SKIPPED_FILE):
                forget_after(path, self.last)
            self.events = SummaryWriter(
                str(self.out / "tensorboard"), purge_step=self.last + 1, flush_secs=30
            )
            self.view.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if is_first():
            self.view.__exit__()
            self.events.close()

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Takes note of a step; waits for its numbers only where a line is due."""
        self.waiting.append(metrics)
        every = self.recipe.log_every, self.recipe.checkpoint_every
        if any(step % one == 0 for one in every) or step == self.recipe.steps:
            self.write_line(step)

    def write_line(self, step: int) -> None:
        """Writes what happened since the last line.

        Raises:
            ArtifactError: too many steps in a row were skipped.
        """
        if not self.waiting:
            return
        with self.account.spend("stepping"):
            jax.block_until_ready(self.waiting[-1])
        with self.account.spend("logging"):
            waiting, self.waiting = self.waiting, []
            first, self.last = self.last, step
            self._write(step, jax.device_get([one._replace(trace=None) for one in waiting]))  # pyright: ignore[reportArgumentType]
            self._tell_skipped(first, waiting)
            if is_first():
                time_account.record(self.out, self.account, self.began_after, step)

    def scored(self, step: int, losses: Mapping[str, float]) -> None:
        """Takes note of an evaluation: nats per target token, by language."""
        self.held_out = {"held_out_nats": fmean(losses.values()), "held_out_step": step}
        self.events.add_scalar("held-out/loss_nats", self.held_out["held_out_nats"], step)
        for code, loss in losses.items():
            self.events.add_scalar(f"held-out-by-language/{code}", loss, step)
        self.doing("")

    def doing(self, what: str) -> None:
        """Shows what the run does instead of stepping."""
        if is_first() and self.view.console.is_terminal:
            self.view.show(self.line | self.held_out, self.account.shares(), what)

    def _write(self, step: int, metrics: list[StepMetrics]) -> None:
        seconds = self.account.seconds["stepping"] - self._stepping
        self._stepping = self.account.seconds["stepping"]
        line = {"step": step, "steps": len(metrics)} | summary(metrics)
        line |= self._speed(seconds / len(metrics))
        self.line = line
        if not is_first():
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name in curves(line, sparse=self.recipe.model.switch is not None):
            self.events.add_scalar(f"training/{name}", line[name], step)
        self.view.show(line | self.held_out, self.account.shares())

    def _speed(self, seconds: float) -> dict[str, float]:
        if seconds <= 0:
            return {}
        recipe, lengths = self.recipe, self.recipe.lengths
        tokens = recipe.rows * (lengths.inputs + lengths.targets)
        speed = {"seconds": seconds, "tokens_per_second": tokens / seconds}
        if peak := peak_flops(jax.devices()[0].device_kind):
            flops = step_flops(recipe.model, recipe.rows, lengths.inputs, lengths.targets)
            whole = peak * jax.device_count()
            speed["model_flops_utilization"] = flops / seconds / whole
        return speed

    def _tell_skipped(self, first: int, metrics: list[StepMetrics]) -> None:
        for number, one in enumerate(metrics, first + 1):
            if not bool(one.skipped):
                self.skipped_in_a_row = 0
                continue
            self.skipped_in_a_row += 1
            limit = self.recipe.optimizer.largest_gradient_norm
            told = describe_step(number, jax.device_get(one), self.sites, self.languages, limit)
            if is_first():
                append(self.out, told)
                self.view.say(f"{self.recipe.stage}: {told.sentence()}")
            if self.skipped_in_a_row >= MOST_SKIPPED:
                raise ArtifactError(
                    f"{self.recipe.name} skipped its last {self.skipped_in_a_row} updates. "
                    f"{told.sentence()} The same command would do the same again; begin anew "
                    "with another --out and a lower optimizer.scale or more optimizer.hold_steps."
                )


def curves(line: Mapping[str, Any], *, sparse: bool) -> Iterator[str]:
    """Yields what of a line is worth a curve: no counters, and of a dense network no routing."""
    for name in line:
        if name not in ("step", "steps") and (sparse or name not in ROUTING):
            yield name


def forget_after(path: Path, step: int) -> None:
    """Drops the lines of steps that will be made again, and a last line that a kill cut short."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines(keepends=True) if _step_of(line) <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")  # cut short: the step is made again


def summary(metrics: list[StepMetrics]) -> dict[str, float]:
    """Returns one line's numbers: the loss over all steps of the interval, the rest their mean.

    Steps that were skipped are counted and left out of the rest.
    """
    taken = [one for one in metrics if not one.skipped]
    line = {"skipped": len(metrics) - len(taken), "learning_rate": float(metrics[-1].learning_rate)}
    if not taken:
        return line  # there is no loss to speak of
    losses = [one.losses for one in taken]
    tokens = sum(one.target_tokens for one in losses)
    return line | {
        "loss_nats": float(sum(one.loss_nats for one in losses) / max(tokens, 1)),
        **soft_loss(losses),
        "gradient_norm": fmean(one.gradient_norm for one in taken),
        **{name: fmean(getattr(one, name) for one in losses) for name in ROUTING},
        **worst_layer([one.layers for one in losses if one.layers is not None]),
    }


def soft_loss(losses: Sequence[Losses]) -> dict[str, float]:
    """Returns a student's nats to its teacher, over all target tokens; nothing without one."""
    sums = [one.soft_loss_nats for one in losses if one.soft_loss_nats is not None]
    if not sums:
        return {}
    return {"soft_loss_nats": float(sum(sums) / max(sum(one.target_tokens for one in losses), 1))}


def worst_layer(layers: Sequence[LayerRouting]) -> dict[str, float]:
    """Returns the switch layer whose busiest expert was asked most, as a multiple of an even share.

    1 when even, the number of experts when all tokens ask for one; nothing where dense.
    """
    if not layers:
        return {}
    load = np.sum([one.load for one in layers], axis=0)
    busiest = load.max(axis=1) / np.maximum(load.mean(axis=1), 1e-9)
    worst = int(np.argmax(busiest))
    return {"worst_layer": worst, "worst_layer_load": float(busiest[worst])}
