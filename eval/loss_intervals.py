"""The final losses of a side by language, each with its interval.

The interval of a loss itself is wide, because pages differ more than models do. Two models are
compared by the gain, whose pages are paired.
"""

from typing import NamedTuple

from eval.language_loss import Unit
from eval.side import Side
from eval.statistics import intervals
from eval.statistics.standard_error import standard_error


class LossInterval(NamedTuple):
    """A loss with its 95% interval; None for the ends over a single page."""

    loss: float
    low: float | None
    high: float | None


class LanguageLoss(NamedTuple):
    """The loss of a model in one language, in both units."""

    nats_per_token: LossInterval
    bits_per_byte: LossInterval


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
