"""The groups of a report: runs of one name with what is known of them, and what made them cost.

The first group is the baseline, the second the candidate, of which the verdict is. Every further
one is compared with the same baseline on the same pages, as the candidate is, so its gains,
intervals and p-values mean the same. The correction for many languages is each comparison's own: it
bounds false findings among the languages of one group, not among all groups.

A pruned model serves the languages that it was made for; what it loses in these and in the others
is told apart, by share of experts kept. Losses are in nats per target token, of the same held-out
pages. A mean is over languages, each of which counts once, script variants left out.

The cost of an upcycled model includes the dense run's steps:

    cost = dense steps * their FLOPs + own steps * their FLOPs

FLOPs are matrix products of forward and backward passes, at equal FLOPs per token for one expert
per token; routers and empty expert slots are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.languages import get
from eval.gains import Comparison
from eval.losses import Unit
from eval.sides import Difference, RunFacts, Side, common_unit

MOST_MODELS = 4  # further models whose colours and marks can be told apart


class Pruning(NamedTuple):
    """How a model was pruned.

    Attributes:
        languages: codes of the languages that it was made for.
        experts: number of experts per layer before.
        others: what became of the other experts, in words; empty if it was not recorded.
        sources: number of the candidate's run that each of its runs was pruned from; empty if one
            was pruned from another run.
    """

    languages: tuple[str, ...]
    experts: int
    others: str
    sources: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The cost of an upcycled run and of its baseline's.

    Attributes:
        recipe: recipe of the dense run that it began as.
        dense_steps: steps of that run; 0 for an imported one.
        dense_flops: training FLOPs of these steps; None for an imported run, whose are unknown.
        own_steps: steps of the upcycled run after them.
        own_flops: training FLOPs of its own steps; None if not recorded.
        baseline_steps, baseline_flops: steps and training FLOPs of a run of the baseline.
    """

    recipe: str
    dense_steps: int
    dense_flops: int | None
    own_steps: int
    own_flops: int | None
    baseline_steps: int
    baseline_flops: int | None

    @property
    def ratio(self) -> float | None:
        """The whole cost ÷ the baseline's; None if a part of it is unknown."""
        if self.dense_flops is None or self.own_flops is None or not self.baseline_flops:
            return None
        return (self.dense_flops + self.own_flops) / self.baseline_flops


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one name in a report.

    Attributes:
        side: their losses.
        facts: facts about them.
        directories: their directories, as they were named.
        differences: settings in which they and the baseline differ beyond the feed-forward.
        pruning: how they were pruned; None if they were not.
        bill: what they cost, if they were upcycled.
    """

    side: Side
    facts: RunFacts
    directories: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    pruning: Pruning | None = None
    bill: Bill | None = None

    @property
    def name(self) -> str:
        """Name in the report."""
        return self.side.name


class PrunedModel(NamedTuple):
    """A pruned model beside the candidate.

    Attributes:
        name: name in the report.
        experts, experts_before: numbers of experts per layer that it has and had.
        others: what became of the other experts, in words; empty if it was not recorded.
        languages: codes of the languages that it was made for.
        lost_nats: nats per token that it lost, by language; negative where it gained.
        lost_in_own, lost_in_others: means over its languages and over all others; None over none.
    """

    name: str
    experts: int
    experts_before: int
    others: str
    languages: tuple[str, ...]
    lost_nats: dict[str, float]
    lost_in_own: float | None
    lost_in_others: float | None

    @property
    def share(self) -> float:
        """Share of the experts that were kept."""
        return self.experts / self.experts_before

    @property
    def made_for(self) -> str:
        """Its languages in words."""
        everyone = len(self.languages) > 1 and self.lost_in_others is None
        return f"all {len(self.languages)} languages" if everyone else ", ".join(self.languages)


def pruned_models(candidate: Side, groups: Sequence[Group]) -> list[PrunedModel]:
    """Returns the groups that were pruned from the candidate's runs, most experts first.

    Each of a group's runs is compared with the run that it was pruned from.
    """
    pruned = [
        _pruned_model(candidate, group, group.pruning)
        for group in groups
        if group.pruning
        and group.pruning.sources
        and common_unit(candidate, group.side) is Unit.NATS_PER_TOKEN
    ]
    return sorted(pruned, key=lambda model: -model.share)


def _pruned_model(candidate: Side, group: Group, pruning: Pruning) -> PrunedModel:
    assert group.facts.experts is not None  # a pruned model has experts
    compared = Comparison(
        baseline=candidate.only(pruning.sources), candidate=group.side, unit=Unit.NATS_PER_TOKEN
    )
    lost = {code: -gain.value for code, gain in compared.estimates.items()}
    counted = {code: lost[code] for code in lost if not get(code).is_script_variant}
    own = [value for code, value in counted.items() if code in pruning.languages]
    others = [value for code, value in counted.items() if code not in pruning.languages]
    return PrunedModel(
        name=group.name,
        experts=group.facts.experts,
        experts_before=pruning.experts,
        others=pruning.others,
        languages=pruning.languages,
        lost_nats=lost,
        lost_in_own=float(np.mean(own)) if own else None,
        lost_in_others=float(np.mean(others)) if others else None,
    )


def sentence(bill: Bill, comparison: Comparison) -> str:
    """Returns a sentence on the gain and cost of upcycling."""
    baseline, candidate = comparison.names
    summary = comparison.summary
    begun = f"{candidate} began as {bill.recipe} at step {bill.dense_steps:,}"
    steps = f"took {bill.own_steps:,} steps more"
    gained = (
        ""
        if summary.mean_gain is None
        else f": {summary.mean_gain:+.3f} {comparison.unit.value} in the mean of "
        f"{summary.mean_gain_languages} languages, better in {summary.languages_improved} of "
        f"{summary.languages}"
    )
    return f"{begun} and {steps}. {_cost(bill, baseline)}{gained}."


def _cost(bill: Bill, baseline: str) -> str:
    if bill.ratio is None:
        return (
            "A part of what the runs cost is not known, so this has no bill beside "
            f"{baseline}'s {bill.baseline_steps:,} steps"
        )
    assert bill.dense_flops is not None  # a ratio has all parts
    assert bill.own_flops is not None
    return (
        f"With the dense steps that is {bill.dense_flops + bill.own_flops:.3g} training FLOPs, "
        f"{bill.ratio:.2f} times those of {baseline}'s {bill.baseline_steps:,} steps"
    )
