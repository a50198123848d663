"""The mean gain over languages: the number that a report's verdict rests on.

Every language counts alike, script variants are left out. The interval is in closed form, over
pages and runs (`standard_error`). A language with a single scored page has no spread over pages, so
the mean is over the others.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from data.languages import get
from eval.language_loss import PageLosses, Unit
from eval.side import Side
from eval.statistics.standard_error import Contributions, standard_error


class MeanGain(NamedTuple):
    """A mean over languages, in the unit of the comparison, and its 95% interval.

    Attributes:
        mean: mean gain.
        low, high: ends of the interval.
        languages: number of languages, those with two scored pages or more.
    """

    mean: float
    low: float
    high: float
    languages: int


def mean_gain(
    baseline: Side, candidate: Side, unit: Unit, codes: Collection[str] | None = None
) -> MeanGain | None:
    """Returns the mean gain of these languages, or of all without script variants.

    None where no language has two pages that all runs score.
    """
    sides = baseline, candidate
    pages, languages = _counted(baseline.final_pages[0], candidate.final_pages[0], unit, codes)
    if not languages.size:
        return None
    parts = [_losses(one, unit, pages, languages) for one in sides]
    (ours, of_ours), (theirs, of_theirs) = reversed(parts)
    error = standard_error([of_theirs, of_ours.times(-1.0)])
    assert error is not None  # every language has two pages
    mean = float((theirs - ours).mean())
    return MeanGain(mean, mean - error.half_width, mean + error.half_width, theirs.size)


def _counted(
    one: PageLosses, other: PageLosses, unit: Unit, counted: Collection[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of the pages that count, and the number of each one's language."""
    codes, of_page = one.held_out.by_language
    scored = (one.sizes(unit) > 0) & (other.sizes(unit) > 0)
    several = np.bincount(of_page[scored], minlength=len(codes)) > 1
    asked = np.array(
        [not get(code).is_script_variant and (counted is None or code in counted) for code in codes]
    )
    places = np.flatnonzero(scored & (several & asked)[of_page])
    return places, np.unique(of_page[places], return_inverse=True)[1]


def _losses(
    side: Side, unit: Unit, pages: np.ndarray, languages: np.ndarray
) -> tuple[np.ndarray, Contributions]:
    """Returns the loss per language, mean over runs, and the contributions to their mean."""
    amounts = np.stack([run.amounts(unit)[pages] for run in side.final_pages])
    sizes = side.final_pages[0].sizes(unit)[pages]
    totals = np.bincount(languages, sizes)
    losses = np.bincount(languages, amounts.mean(axis=0)) / totals
    shares = sizes / totals[languages]
    values = amounts / totals[languages] - losses[languages] * shares
    return losses, Contributions(values / totals.size, shares, languages)
