"""What a run says of itself: a live line for the eye, `metrics.jsonl` for everything else.

Step times exclude compiling (the first step), evaluating and checkpointing, which are timed apart.
Losses of the steps between two lines are summed and divided by their tokens, never averaged twice.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import jax
from rich import progress as rich_progress
from rich.console import Console

from model.train_step import StepMetrics
from pipeline.artifacts import ArtifactError
from pipeline.recipes import Recipe

MOST_SKIPPED = 10  # updates in a row; one or two are a bad batch, ten are a broken run


class Progress:
    """The clock and the log of a run."""

    def __init__(self, recipe: Recipe, out: Path, first: int, console: Console):
        self.recipe, self.first = recipe, first
        self.path = out / "metrics.jsonl"
        self.seconds: dict[str, float] = defaultdict(float)
        self.waiting: list[StepMetrics] = []
        self.skipped_in_a_row = 0
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeRemainingColumn(),
            console=console,
        )
        self.console = console

    def __enter__(self) -> "Progress":
        self._forget_after(self.first)
        self.task = self.bar.add_task(
            self.recipe.name, total=self.recipe.steps, completed=self.first
        )
        self.bar.start()
        self.mark, self.marked_steps = time.perf_counter(), 0
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        self.console.print(f"pretrain: {self.recipe.name}: {spent}")

    @contextmanager
    def pause(self, what: str) -> Iterator[None]:
        """Times something that is not a step."""
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.seconds[what] += spent
        self.mark += spent

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Takes note of a step; waits for its numbers only where a line is due."""
        self.waiting.append(metrics)
        self.marked_steps += 1
        if step == self.first + 1:  # the first step compiles
            jax.block_until_ready(metrics)
            self.seconds["compile"] += time.perf_counter() - self.mark
            self.mark, self.marked_steps = time.perf_counter(), 0
        if step % self.recipe.log_every == 0 or step == self.recipe.steps:
            self._log(step, jax.device_get(self.waiting))
            self.waiting = []

    def _log(self, step: int, metrics: list[StepMetrics]) -> None:
        now = time.perf_counter()
        spent, steps = now - self.mark, self.marked_steps
        self.seconds["steps"] += spent
        self.mark, self.marked_steps = now, 0
        line = {"step": step} | summary(metrics)
        if steps:
            line["seconds"] = spent / steps
            line["tokens_per_second"] = self.recipe.rows * self._row_tokens() * steps / spent
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.bar.update(self.task, completed=step, description=self._describe(line))
        self._stop_after_many_skipped(step, metrics)

    def _stop_after_many_skipped(self, step: int, metrics: list[StepMetrics]) -> None:
        for one in metrics:
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if one.skipped else 0
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise ArtifactError(
                f"{self.recipe.name} skipped its last {self.skipped_in_a_row} updates up to step "
                f"{step}, because losses or gradients were not finite; lower optimizer.scale, "
                "raise optimizer.hold_steps, or go back to an earlier checkpoint."
            )

    def _row_tokens(self) -> int:
        lengths = self.recipe.lengths
        return lengths.inputs + lengths.targets

    def _describe(self, line: dict[str, Any]) -> str:
        speed = (
            f", {line['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in line else ""
        )
        sparse = self.recipe.model.switch is not None and "dropped_share" in line
        dropped = f", dropped {line['dropped_share']:.1%}" if sparse else ""
        loss = f"loss {line['loss_nats']:.3f}" if "loss_nats" in line else "no finite loss"
        return f"{self.recipe.name}: {loss}{speed}{dropped}"

    def _forget_after(self, step: int) -> None:
        """Drops the lines of steps that will be computed again."""
        if self.path.exists():
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
            kept = [line for line in lines if line["step"] <= step]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))


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
        "loss_nats": float(sum(one.loss_nats for one in losses) / tokens),
        "balance_loss": fmean(one.balance_loss for one in losses),
        "dropped_share": fmean(one.dropped_share for one in losses),
        "router_entropy_nats": fmean(one.router_entropy_nats for one in losses),
        "gradient_norm": fmean(one.gradient_norm for one in taken),
    }
