"""Models beside the two sides of a report: each one's losses by language, and its gains.

The verdict of a report is of two sides. A further model is compared with the same baseline on the
same pages, by the same functions as the candidate, so its gains, intervals and p-values mean the
same. The correction for many languages is each model's own: it bounds false findings among the
languages of one model, not among all models.

The interval of a loss itself is wide, because pages differ more than models do. Two models are
compared by the gain, whose pages are paired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from eval import comparison, side
from eval.language_gain import LanguageGain, Summary
from eval.language_loss import Unit
from eval.run_facts import Difference, RunFacts
from eval.side import Side
from eval.statistics import intervals
from eval.statistics.standard_error import standard_error

MOST = 4  # further models whose colours and marks can be told apart


class LossInterval(NamedTuple):
    """A loss with its 95% interval; None for the ends over a single page."""

    loss: float
    low: float | None
    high: float | None


class LanguageLoss(NamedTuple):
    """The loss of a model in one language, in both units."""

    nats_per_token: LossInterval
    bits_per_byte: LossInterval


class Pruning(NamedTuple):
    """How a model was pruned: for which languages, from how many experts per layer."""

    languages: tuple[str, ...]
    experts: int


@dataclass(frozen=True, kw_only=True)
class Further:
    """A model beside the two sides.

    Attributes:
        runs: its runs.
        facts: facts about them.
        unit: unit of its gains; bits per byte where its vocabulary is not the baseline's.
        summary: counts and means over languages, against the baseline.
        gains: gains over the baseline per language, best first.
        differences: settings in which it and the baseline differ beyond the feed-forward.
        directories: directories of the runs, as they were named.
        pruning: how it was pruned; None if it was not.
    """

    runs: Side
    facts: RunFacts
    unit: Unit
    summary: Summary
    gains: Mapping[str, LanguageGain]
    differences: tuple[Difference, ...]
    directories: tuple[str, ...]
    pruning: Pruning | None = None

    @property
    def name(self) -> str:
        """Name in the report."""
        return self.runs.name


def further(
    baseline: Side,
    runs: Side,
    *,
    facts: RunFacts,
    differences: tuple[Difference, ...],
    directories: tuple[str, ...],
    pruning: Pruning | None = None,
) -> Further:
    """Returns a model compared with the baseline."""
    gains = comparison.language_gains(baseline, runs, {})
    return Further(
        runs=runs,
        facts=facts,
        unit=side.unit_of(baseline, runs),
        summary=comparison.summarise(gains, baseline, runs),
        gains=gains,
        differences=differences,
        directories=directories,
        pruning=pruning,
    )


def losses_of(one: Side) -> dict[str, LanguageLoss]:
    """Returns a side's final losses by language, with intervals."""
    return {
        code: LanguageLoss(*(loss_interval(one, code, unit) for unit in Unit))
        for code in one.languages
    }


def loss_interval(one: Side, code: str, unit: Unit) -> LossInterval:
    """Returns a side's final loss in a language, with its interval over pages and runs."""
    scores = one.scores(code, unit)
    (counted,) = intervals.scored([scores])
    if counted.sizes.size < 2:
        return LossInterval(scores.loss(), None, None)
    error = standard_error([counted.contributions()])
    assert error is not None  # there are two pages
    half = error.half_width
    return LossInterval(scores.loss(), scores.loss() - half, scores.loss() + half)
