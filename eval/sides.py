"""One side of a comparison: the runs of one architecture, one per seed, evaluated at equal steps.

A curve has a loss at several numbers of steps. Its points are the evaluations of one run per seed,
or the final losses of several runs per seed, of several lengths.

The loss of a side is the mean over its runs. All runs score the same pages with the same targets,
so their counts (tokens, bytes, pages) are equal, and a mean of sums is a sum of means. Two sides
with one vocabulary are compared in nats per target token. Different vocabularies cut the same pages
into different targets, so such sides are compared in bits per byte.

The interval of a loss itself is wide, because pages differ more than models do. Two models are
compared by the gain, whose pages are paired (`compare`).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from eval.compare import Estimate, Scores, estimate, ratios
from eval.losses import (
    LanguageLosses,
    PageLosses,
    Unit,
    by_language,
    mean_of_runs,
    same_targets,
    total,
)
from eval.speed_up import Curves


class Difference(NamedTuple):
    """A setting that differs beyond the feed-forward, with its value per run of each side."""

    field: str
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about the runs of one side; None where not recorded.

    Attributes:
        name: name of the side in the report.
        recipe: name of the recipe.
        seeds: seed of each run.
        parameters: number of weights.
        flops_per_sequence: FLOPs per sequence of the forward pass.
        experts: number of experts per switch layer; None for a dense side.
        devices: numbers and kinds of devices.
        steps: number of training steps.
        step_seconds: median wall time per step by the runs' own logs, waiting for data included.
        step_seconds_spread: greatest ÷ least median of a tenth of a run, greatest of all runs.
        tokens_per_second: median over steps.
        dropped_share: share of dropped tokens, mean over the last tenth of training.
        training_loss_nats: nats per target token, mean over the last tenth of training.
        held_out_loss_nats: nats per target token over all held-out pages, one entry per run.
        commits: commits of the code that trained the runs.
    """

    name: str
    recipe: str
    seeds: tuple[int, ...]
    parameters: int | None
    flops_per_sequence: int | None
    experts: int | None
    devices: str
    steps: int
    step_seconds: float | None
    step_seconds_spread: float | None
    tokens_per_second: float | None
    dropped_share: float | None
    training_loss_nats: float | None
    held_out_loss_nats: tuple[float, ...]
    commits: tuple[str, ...]


class Points(enum.Enum):
    """What the points of a side's curves are."""

    DECAYED = "final losses of runs of several lengths"
    STEADY = "evaluations of one run, whose rate does not fall to 0"
    DECAYING = "evaluations of one run, whose rate falls to 0"


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one architecture, evaluated at the same steps.

    Attributes:
        name: name in the report, for example `Switch`.
        seeds: seed of each run.
        steps: steps of the points, ascending; only step 0 for an imported model.
        points: what the points are.
        pages: held-out pages, for each seed and point; the same ones everywhere.
    """

    name: str
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    points: Points
    pages: tuple[tuple[PageLosses, ...], ...]

    @cached_property
    def runs(self) -> tuple[tuple[LanguageLosses, ...], ...]:
        """Sums per language, for each seed and point."""
        return tuple(tuple(map(by_language, run)) for run in self.pages)

    @property
    def final_pages(self) -> tuple[PageLosses, ...]:
        """Pages of the last point, one entry per seed."""
        return tuple(run[-1] for run in self.pages)

    def until(self, step: int) -> "Side":
        """Returns the side with its points up to this step."""
        points = sum(at <= step for at in self.steps)
        return replace(
            self, steps=self.steps[:points], pages=tuple(run[:points] for run in self.pages)
        )

    def only(self, runs: tuple[int, ...]) -> "Side":
        """Returns the side with some of its runs, by their places."""
        seeds = tuple(self.seeds[run] for run in runs)
        return replace(self, seeds=seeds, pages=tuple(self.pages[run] for run in runs))

    @cached_property
    def losses(self) -> tuple[LanguageLosses, ...]:
        """Sums per language at each step, mean over runs."""
        return tuple(mean_of_runs(at_step) for at_step in zip(*self.runs, strict=True))

    @property
    def languages(self) -> tuple[str, ...]:
        """Sorted codes of the evaluated languages."""
        return self.runs[0][-1].languages

    @property
    def trained(self) -> bool:
        """Whether the runs were trained here; False for an imported model of unknown steps."""
        return self.steps[-1] > 0

    @property
    def has_curve(self) -> bool:
        """Whether there are at least two points after step 0."""
        return sum(step > 0 for step in self.steps) > 1

    def compares_with(self, other: "Side") -> bool:
        """Whether both have curves, and points of one kind: ends of runs, or within one run."""
        of_one_kind = (self.points is Points.DECAYED) == (other.points is Points.DECAYED)
        return self.has_curve and other.has_curve and of_one_kind

    def trained_curves(
        self, unit: Unit
    ) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, "points languages"]]:
        """Returns the points after step 0: their steps and losses."""
        trained = np.array(self.steps) > 0
        return np.array(self.steps)[trained], self.curves(unit)[trained]

    def curves(self, unit: Unit) -> Float[np.ndarray, "evaluations languages"]:
        """Returns the loss at each step, one column per language."""
        return curves_of(self.losses, unit)

    def final_losses(self, unit: Unit) -> Float[np.ndarray, "runs languages"]:
        """Returns the loss of each run after its last step."""
        return np.stack([run[-1].losses(unit) for run in self.runs])

    def scores(self, unit: Unit, counted: Bool[np.ndarray, " pages"] | None = None) -> Scores:
        """Returns the final loss per language, from all pages with a scored token or from some."""
        sizes = self.final_pages[0].sizes(unit)
        amounts = np.stack([pages.amounts(unit) for pages in self.final_pages])
        languages = self.final_pages[0].held_out.by_language
        return ratios(*languages, amounts, sizes, sizes > 0 if counted is None else counted)

    def page_curves(self, unit: Unit, pages: Bool[np.ndarray, " pages"]) -> Curves:
        """Returns the losses of some pages at the points after step 0."""
        trained = [point for point, step in enumerate(self.steps) if step > 0]
        amounts = [[run[point].amounts(unit)[pages] for point in trained] for run in self.pages]
        steps = np.array(self.steps)[trained]
        return Curves(steps, np.array(amounts), self.final_pages[0].sizes(unit)[pages])


def curves_of(
    losses: tuple[LanguageLosses, ...], unit: Unit
) -> Float[np.ndarray, "evaluations languages"]:
    """Returns the loss at each evaluation, one column per language."""
    return np.stack([at_step.losses(unit) for at_step in losses])


def total_curve(
    losses: tuple[LanguageLosses, ...], unit: Unit
) -> Float[np.ndarray, " evaluations"]:
    """Returns the loss over all pages at each evaluation."""
    return np.concatenate([total(at_step).losses(unit) for at_step in losses])


def common_unit(baseline: Side, candidate: Side) -> Unit:
    """Returns the unit in which two sides can be compared."""
    if same_targets(baseline.final_pages[0], candidate.final_pages[0]):
        return Unit.NATS_PER_TOKEN
    return Unit.BITS_PER_BYTE


def common_scores(sides: Sequence[Side], unit: Unit) -> list[Scores]:
    """Returns the sides' losses on the pages of which each side has a scored token.

    With different vocabularies a page may be scored on one side only.
    """
    counted = np.all([side.final_pages[0].sizes(unit) > 0 for side in sides], axis=0)
    return [side.scores(unit, counted) for side in sides]


def final_losses(side: Side) -> dict[str, tuple[Estimate, Estimate]]:
    """Returns a side's final losses by language, in nats per token and bits per byte."""
    in_nats, in_bits = (side.scores(unit) for unit in Unit)
    return {
        code: (estimate([(1.0, in_nats)], [code]), estimate([(1.0, in_bits)], [code]))
        for code in side.languages
    }
