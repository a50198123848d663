"""What an upcycled model has cost, the dense run's steps included, beside its baseline.

    cost = dense steps * their FLOPs + own steps * their FLOPs

FLOPs are matrix products of forward and backward passes, at equal FLOPs per token for one expert
per token; routers and empty expert slots are not counted.
"""

from dataclasses import dataclass

from eval.language_gain import Summary
from eval.language_loss import Unit


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


def sentence(bill: Bill, summary: Summary, unit: Unit, names: tuple[str, str]) -> str:
    """Returns what upcycling gains and costs.

    Args:
        bill: the cost.
        summary: gains over languages.
        unit: unit of the gains.
        names: names of baseline and candidate.
    """
    baseline, candidate = names
    begun = f"{candidate} began as {bill.recipe} at step {bill.dense_steps:,}"
    steps = f"took {bill.own_steps:,} steps more"
    gained = (
        ""
        if summary.mean_gain is None
        else f": {summary.mean_gain:+.3f} {unit.value} in the mean of "
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
