"""`skipped.jsonl`: every update that was not made, why, from which layer, on which languages."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.nonfinite import GradientSite, skip_cause
from model.train_step import StepMetrics

FILE = "skipped.jsonl"
NAMED = 8  # languages in a sentence; the file has all


@dataclass(frozen=True)
class SkippedStep:
    """One update that was not made.

    Attributes:
        step: its number.
        where: which layer the trouble came from, as far as its numbers tell.
        loss_nats: sum of the batch; None where it was not finite.
        gradient_norm: of all parameters; None likewise.
        languages: those of the rows whose loss was not finite; or else of the whole batch.
        rows: how many rows those are.
    """

    step: int
    where: str
    loss_nats: float | None
    gradient_norm: float | None
    languages: tuple[str, ...]
    rows: int

    def sentence(self) -> str:
        """Returns what to print."""
        named = ", ".join(self.languages[:NAMED])
        more = len(self.languages) - NAMED
        return (
            f"Update {self.step} was skipped: {self.where}; its {self.rows} rows were in {named}"
            f"{f' and {more} more languages' if more > 0 else ''}."
        )


def describe_step(
    step: int,
    metrics: StepMetrics,
    sites: Sequence[GradientSite],
    languages: Sequence[str],
    limit: float,
) -> SkippedStep:
    """Returns what the numbers of a skipped step say.

    Args:
        step: its number.
        metrics: on the host.
        sites: of the model's gradients.
        languages: codes, in the order of the numbers in a batch.
        limit: the gradient norm that counts as exploded.
    """
    broken = ~np.isfinite(metrics.trace.row_loss_nats)
    rows = broken if broken.any() else np.ones_like(broken)
    numbers = np.unique(np.asarray(metrics.trace.row_language)[rows])
    return SkippedStep(
        step=step,
        where=skip_cause(metrics.trace, list(sites), limit),
        loss_nats=_finite(metrics.losses.loss_nats),
        gradient_norm=_finite(metrics.gradient_norm),
        languages=tuple(str(languages[number]) for number in numbers if number >= 0),
        rows=int(rows.sum()),
    )


def _finite(value: object) -> float | None:
    number = float(np.asarray(value))
    return number if np.isfinite(number) else None


def append(directory: Path, skipped: SkippedStep) -> None:
    """Adds a line to a run's file."""
    with (directory / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(skipped)) + "\n")
