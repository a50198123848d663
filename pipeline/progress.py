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
from typing import Any

import jax
from rich import progress as rich_progress
from rich.console import Console

from model.train_step import StepMetrics
from pipeline.artifacts import ArtifactError
from pipeline.recipes import Recipe


class Progress:
    """The clock and the log of a run."""

    def __init__(self, recipe: Recipe, out: Path, first: int, console: Console):
        self.recipe, self.first = recipe, first
        self.path = out / "metrics.jsonl"
        self.seconds: dict[str, float] = defaultdict(float)
        self.waiting: list[StepMetrics] = []
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
        if not line["loss_nats"] < float("inf"):
            raise ArtifactError(
                f"The loss of {self.recipe.name} was {line['loss_nats']} at step {step}; "
                "lower optimizer.scale or raise optimizer.hold_steps."
            )

    def _row_tokens(self) -> int:
        lengths = self.recipe.lengths
        return lengths.inputs + lengths.targets

    def _describe(self, line: dict[str, Any]) -> str:
        speed = (
            f", {line['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in line else ""
        )
        dropped = f", dropped {line['dropped_share']:.1%}" if self.recipe.model.switch else ""
        return f"{self.recipe.name}: loss {line['loss_nats']:.3f}{speed}{dropped}"

    def _forget_after(self, step: int) -> None:
        """Drops the lines of steps that will be computed again."""
        if self.path.exists():
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
            kept = [line for line in lines if line["step"] <= step]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))


def summary(metrics: list[StepMetrics]) -> dict[str, float]:
    """Returns one line's numbers: the loss over all steps of the interval, the rest their mean."""
    losses = [step.losses for step in metrics]
    count = len(metrics)
    return {
        "loss_nats": float(sum(l.loss_nats for l in losses) / sum(l.target_tokens for l in losses)),  # noqa: E741
        "balance_loss": float(sum(l.balance_loss for l in losses) / count),  # noqa: E741
        "dropped_share": float(sum(l.dropped_share for l in losses) / count),  # noqa: E741
        "router_entropy_nats": float(sum(l.router_entropy_nats for l in losses) / count),  # noqa: E741
        "gradient_norm": float(sum(step.gradient_norm for step in metrics) / count),
        "learning_rate": float(metrics[-1].learning_rate),
    }
