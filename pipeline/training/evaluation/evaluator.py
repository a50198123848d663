"""What the training loop asks of an evaluation, and the evaluation of held-out pages."""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from data.files.paths import Place, exists
from model.trainer import Trainer
from pipeline.errors import first_line, lacks_device_memory
from pipeline.hardware.coordination import is_first
from pipeline.runs.evaluation_paths import evaluation_file
from pipeline.runs.filled_gaps import FilledGap
from pipeline.training.evaluation.evaluation_file import write_evaluation
from pipeline.training.evaluation.filled_gaps import GapFiller, write_gaps
from pipeline.training.evaluation.held_out import HeldOut


class Scored(NamedTuple):
    """The numbers of an evaluation for the log.

    Attributes:
        measure: name of the number: loss_nats (nats per target token), or score (in percent).
        mean: number of the run; None if nothing was evaluated.
        by_language: number of each language.
        gaps: gaps that were filled.
    """

    measure: str
    mean: float | None
    by_language: Mapping[str, float]
    gaps: Sequence[FilledGap] = ()


@runtime_checkable
class Evaluator(Protocol):
    """Evaluates a run at some steps and writes the result to the run's directory."""

    def is_written(self, step: int) -> bool:
        """Returns whether the evaluation of a step is complete."""
        ...

    def best(self) -> Collection[int]:
        """Returns the evaluated steps whose checkpoints are kept: the best one, or none."""
        ...

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Evaluates weights and writes the result; every host must call this.

        Args:
            trainer: functions of the network.
            arrays: weights to evaluate.
            step: step of the weights.
            stop: called before every batch; True abandons the evaluation.

        Returns:
            None if it was abandoned.
        """
        ...


class PageEvaluator(NamedTuple):
    """Losses of held-out pages, and some of their gaps, filled.

    Attributes:
        held_out: held-out pages.
        gaps: gaps of held-out pages.
        out: the run's directory.
        announce: prints a message.
    """

    held_out: HeldOut
    gaps: GapFiller
    out: Place
    announce: Callable[[str], None]

    def is_written(self, step: int) -> bool:
        """Returns whether the file of losses is there, which is written last."""
        return exists(evaluation_file(self.out, step))

    def best(self) -> Collection[int]:
        """Returns no step: a run's quality is that of its end."""
        return ()

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Scores the pages and fills gaps; None if it was stopped."""
        evaluation = self.held_out.score(trainer, arrays, stop)
        if evaluation is None:
            return None
        gaps = self.fill_gaps(trainer, arrays, step)
        if is_first():
            write_gaps(self.out, step, gaps)
            write_evaluation(self.out, step, evaluation)
        losses = evaluation.losses
        mean = fmean(losses.values()) if losses else None
        return Scored("loss_nats", mean, losses, gaps)

    def fill_gaps(self, trainer: Trainer, arrays: Any, step: int) -> list[FilledGap]:
        """Returns some filled gaps; none, and a caution, where the devices cannot fill them."""
        try:
            return self.gaps.fill(trainer, arrays, step)
        except jax.errors.JaxRuntimeError as error:
            if not lacks_device_memory(error):
                raise
            self.announce(f"caution: no gaps are shown of step {step} ({first_line(error)}).")
            return []
