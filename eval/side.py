"""One side of a comparison: the runs of one architecture, one per seed, evaluated at equal steps.

The loss of a side is the mean over its runs. All runs score the same pages with the same targets,
so their counts (tokens, bytes, pages) are equal, and a mean of sums is a sum of means. Two sides
with one vocabulary are compared in nats per target token. Different vocabularies cut the same pages
into different targets, so such sides are compared in bits per byte.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from eval import language_loss
from eval.intervals import Scores
from eval.language_loss import LanguageLosses, PageLosses, Unit


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one architecture, evaluated at the same steps.

    Attributes:
        name: name in the report, for example `Switch`.
        steps: steps of the evaluations, ascending; only step 0 for an imported model.
        runs: sums per language, for each run and step.
        pages: pages of the last evaluation, one entry per run.
        step_seconds: median wall time per training step; None if not recorded.
    """

    name: str
    steps: tuple[int, ...]
    runs: tuple[tuple[LanguageLosses, ...], ...]
    pages: tuple[PageLosses, ...]
    step_seconds: float | None

    @cached_property
    def losses(self) -> tuple[LanguageLosses, ...]:
        """Sums per language at each step, mean over runs."""
        return tuple(
            language_loss.mean_of_runs(at_step) for at_step in zip(*self.runs, strict=True)
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """Sorted codes of the evaluated languages."""
        return self.runs[0][-1].languages

    @property
    def trained(self) -> bool:
        """Whether the runs were trained here; False for an imported model of unknown steps."""
        return self.steps[-1] > 0

    def curves(self, unit: Unit) -> Float[np.ndarray, "evaluations languages"]:
        """Returns the loss at each step, one column per language."""
        return curves_of(self.losses, unit)

    def final_losses(self, unit: Unit) -> Float[np.ndarray, "runs languages"]:
        """Returns the loss of each run after its last step."""
        return np.stack([run[-1].losses(unit) for run in self.runs])

    def scores(self, language: str, unit: Unit) -> Scores:
        """Returns the scores of all runs on the pages of a language."""
        languages, of_page = self.pages[0].held_out.by_language
        mine = of_page == languages.index(language)
        amounts = np.stack([pages.amounts(unit)[mine] for pages in self.pages])
        return Scores(amounts, self.pages[0].sizes(unit)[mine])


def curves_of(
    losses: tuple[LanguageLosses, ...], unit: Unit
) -> Float[np.ndarray, "evaluations languages"]:
    """Returns the loss at each evaluation, one column per language."""
    return np.stack([one.losses(unit) for one in losses])


def total_curve(
    losses: tuple[LanguageLosses, ...], unit: Unit
) -> Float[np.ndarray, " evaluations"]:
    """Returns the loss over all pages at each evaluation."""
    return np.concatenate([language_loss.total(one).losses(unit) for one in losses])


def unit_of(baseline: Side, candidate: Side) -> Unit:
    """Returns the unit in which two sides can be compared."""
    if language_loss.same_targets(baseline.pages[0], candidate.pages[0]):
        return Unit.NATS_PER_TOKEN
    return Unit.BITS_PER_BYTE
