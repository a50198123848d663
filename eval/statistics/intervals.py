"""Is a language's gain more than noise? Intervals in closed form, corrected for many languages.

Gain is baseline minus candidate: positive means that the candidate is better. The loss of a side is
an amount (nats or bits) over a size (target tokens or hidden bytes), both summed over pages.

The sampling unit is the held-out *page*, which was drawn from the web; tokens of one page are not
independent. Where a side has several runs, the run is a second sampling unit. A page too short to
hide a token has no loss and is not counted. With one run per side the interval is over pages only.
Variances and degrees of freedom: `standard_error`. There is no random number here, so every
interval and verdict can be recomputed.

Many languages. The correction of Benjamini and Hochberg (1995) bounds the expected share of false
findings among those called "beyond noise" at 5%. A seed moves many languages together, so false
findings come in crowds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from eval.statistics.standard_error import Contributions, standard_error

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class GainInterval:
    """A gain with its interval and its number of scored pages; no interval for a single page."""

    gain: float
    pages: int
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True)
class Scores:
    """The scores of one side on the pages of one language.

    Attributes:
        amounts: loss per run and page, summed over the page, in nats or bits.
        sizes: target tokens or hidden bytes per page, equal for all runs.
    """

    amounts: Float[np.ndarray, "runs pages"]
    sizes: Int[np.ndarray, " pages"]

    def loss(self) -> float:
        """Returns the loss over all pages, mean over runs."""
        return float(self.amounts.mean(axis=0).sum() / self.sizes.sum())

    def contributions(self) -> Contributions:
        """Returns the contributions to the loss, all pages taken as those of one language."""
        shares = self.sizes / self.sizes.sum()
        values = self.amounts / self.sizes.sum() - self.loss() * shares
        return Contributions(values, shares, np.zeros(self.sizes.size, dtype=np.int64))


def gain_interval(baseline: Scores, candidate: Scores) -> GainInterval:
    """Returns the gain of one language and its interval, from the losses of its pages."""
    sides = scored((baseline, candidate))
    pages = sides[0].sizes.size
    if pages:  # with different vocabularies a page may be scored on one side only
        baseline, candidate = sides
    gain = baseline.loss() - candidate.loss()
    if pages < 2:
        return GainInterval(gain, pages, None, None, None)
    error = standard_error([baseline.contributions(), candidate.contributions().times(-1.0)])
    assert error is not None  # there are two pages
    half = error.half_width
    return GainInterval(gain, pages, gain - half, gain + half, error.p_value(gain))


def scored(sides: Sequence[Scores]) -> list[Scores]:
    """Returns the sides, reduced to the pages on which each has a scored token."""
    pages = np.all([side.sizes > 0 for side in sides], axis=0)
    return [Scores(side.amounts[:, pages], side.sizes[pages]) for side in sides]


def adjusted_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the Benjamini-Hochberg adjusted p-values; None stays None and is not counted."""
    known = [value for value in p_values if value is not None]
    adjusted = iter(stats.false_discovery_control(known, method="bh").tolist() if known else [])
    return [None if value is None else next(adjusted) for value in p_values]
