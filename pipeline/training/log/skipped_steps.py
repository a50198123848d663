"""`skipped.jsonl`: every skipped update, its cause, the layer it came from, and its languages.

One or two skipped updates are a bad batch. Ten in a row are a diverged run, which is stopped.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import jax
import numpy as np

from data.files.growing_files import GrowingFile
from data.files.paths import Place
from model.step import GradientSite, StepMetrics, skip_cause
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import is_first
from pipeline.recipe.recipe import Recipe

FILE = "skipped.jsonl"
MOST_SKIPPED = 10  # updates in a row
NAMED = 8  # number of languages in a sentence; the file has all


@dataclass(frozen=True)
class SkippedStep:
    """One skipped update.

    Attributes:
        step: number of the step.
        where: layer in which the first nonfinite or exploded number arose, if that is known.
        loss_nats: summed loss of the batch; None if not finite.
        gradient_norm: norm over all parameters; None if not finite.
        languages: languages of the rows with a nonfinite loss; of all rows if there are none.
        rows: number of those rows.
    """

    step: int
    where: str
    loss_nats: float | None
    gradient_norm: float | None
    languages: tuple[str, ...]
    rows: int

    def sentence(self) -> str:
        """Returns the message to print."""
        named = ", ".join(self.languages[:NAMED])
        more = len(self.languages) - NAMED
        return (
            f"Update {self.step} was skipped: {self.where}; its {self.rows} rows were in {named}"
            f"{f' and {more} more languages' if more > 0 else ''}."
        )


class SkippedSteps:
    """Records the skipped updates of a run and stops a run that makes no more updates.

    Args:
        recipe: the run's recipe.
        out: the run's directory.
        sites: parameter groups of the model, in the order of the gradient squares in a trace.
        languages: language codes, in the order of the language numbers in a batch.
        print_line: prints a line on the first host.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Place,
        sites: Sequence[GradientSite],
        languages: Sequence[str],
        print_line: Callable[[str], None],
    ):
        self.recipe, self.lines = recipe, GrowingFile(out / FILE)
        self.sites, self.languages = sites, languages
        self.print_line = print_line
        self.in_a_row = 0

    def record(self, after: int, metrics: Sequence[StepMetrics]) -> None:
        """Records the skipped ones among the steps that follow step `after`.

        Raises:
            ArtifactError: if `MOST_SKIPPED` updates in a row were skipped.
        """
        for step, one in enumerate(metrics, after + 1):
            self.in_a_row = self.in_a_row + 1 if one.skipped else 0
            if one.skipped:
                self._record(step, jax.device_get(one))

    def _record(self, step: int, metrics: StepMetrics) -> None:
        limit = self.recipe.optimizer.largest_gradient_norm
        skipped = describe_step(step, metrics, self.sites, self.languages, limit)
        if is_first():
            self.lines.add(json.dumps(asdict(skipped)))
            self.print_line(f"{self.recipe.stage}: {skipped.sentence()}")
        if self.in_a_row >= MOST_SKIPPED:
            raise ArtifactError(
                f"{self.recipe.name} skipped its last {self.in_a_row} updates. "
                f"{skipped.sentence()} The same command would fail in the same way; start again "
                "with another --out and a lower optimizer.scale or more optimizer.hold_steps."
            )


def describe_step(
    step: int,
    metrics: StepMetrics,
    sites: Sequence[GradientSite],
    languages: Sequence[str],
    limit: float,
) -> SkippedStep:
    """Returns the record of a skipped step.

    Args:
        step: number of the step.
        metrics: metrics of the step, on the host.
        sites: parameter groups, in the order of the gradient squares.
        languages: language codes, in the order of the language numbers in a batch.
        limit: gradient norm above which an update is skipped.
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
