"""Models beside the two sides of a report, and their gains.

The verdict of a report is of two sides. A further model is compared with the same baseline on the
same pages, by the same functions as the candidate, so its gains, intervals and p-values mean the
same. The correction for many languages is each model's own: it bounds false findings among the
languages of one model, not among all models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from eval import comparison
from eval.language_gain import LanguageGain, Summary
from eval.language_loss import Unit
from eval.run_facts import Difference, RunFacts
from eval.side import Side, unit_of

MOST = 4  # further models whose colours and marks can be told apart


class Pruning(NamedTuple):
    """How a model was pruned.

    Attributes:
        languages: codes of the languages that it was made for.
        experts: number of experts per layer before.
        others: what became of the other experts, in words; empty if it was not recorded.
        of_candidate: whether it was pruned from one of the candidate's runs.
    """

    languages: tuple[str, ...]
    experts: int
    others: str = ""
    of_candidate: bool = True


@dataclass(frozen=True, kw_only=True)
class Further:
    """A model beside the two sides.

    Attributes:
        side: its runs.
        facts: facts about them.
        unit: unit of its gains; bits per byte where its vocabulary is not the baseline's.
        summary: counts and means over languages, against the baseline.
        gains: gains over the baseline per language, best first.
        differences: settings in which it and the baseline differ beyond the feed-forward.
        directories: directories of the runs, as they were named.
        pruning: how it was pruned; None if it was not.
    """

    side: Side
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
        return self.side.name


def further(
    baseline: Side,
    side: Side,
    *,
    facts: RunFacts,
    differences: tuple[Difference, ...],
    directories: tuple[str, ...],
    pruning: Pruning | None = None,
) -> Further:
    """Returns a model compared with the baseline."""
    gains = comparison.language_gains(baseline, side, {})
    return Further(
        side=side,
        facts=facts,
        unit=unit_of(baseline, side),
        summary=comparison.summarise(gains, baseline, side),
        gains=gains,
        differences=differences,
        directories=directories,
        pruning=pruning,
    )
