"""What pruning cost: the loss of pruned models against the candidate's, by share of experts kept.

A pruned model serves the languages that it was made for; what it loses in these and in the others
is told apart. Losses are in nats per target token, of the same held-out pages. A mean is over
languages, each of which counts once, script variants left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.languages import get
from eval.further import Further
from eval.language_loss import Unit
from eval.side import Side, unit_of


class Pruned(NamedTuple):
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


def pruned_models(candidate: Side, further: Sequence[Further]) -> list[Pruned]:
    """Returns those of further models that were pruned from the candidate's runs."""
    found = []
    for one in further:
        if one.pruning is None or not one.pruning.of_candidate:
            continue
        if unit_of(candidate, one.side) is not Unit.NATS_PER_TOKEN:
            continue
        lost = {
            code: _loss(one.side, code) - _loss(candidate, code) for code in candidate.languages
        }
        experts = one.facts.experts
        assert experts is not None  # a pruned model has experts
        counted = {code: lost[code] for code in lost if not get(code).is_script_variant}
        own = [value for code, value in counted.items() if code in one.pruning.languages]
        others = [value for code, value in counted.items() if code not in one.pruning.languages]
        found.append(
            Pruned(
                name=one.name,
                experts=experts,
                experts_before=one.pruning.experts,
                others=one.pruning.others,
                languages=one.pruning.languages,
                lost_nats=lost,
                lost_in_own=float(np.mean(own)) if own else None,
                lost_in_others=float(np.mean(others)) if others else None,
            )
        )
    return sorted(found, key=lambda one: -one.share)


def _loss(side: Side, code: str) -> float:
    return side.scores(code, Unit.NATS_PER_TOKEN).loss()
