"""Probability thresholds per language (FineWeb2, Penedo et al. 2025).

Identifiers are certain of English and uncertain between Indonesian and Malay. One threshold for all
keeps noise in the former and drops most of the latter. FineWeb2 computes, from the probabilities X
of all pages that the identifier assigns to a language,

    threshold = max(0.3, min(0.9, median(X) - standard deviation(X)))

A first pass over the corpus counts probabilities in steps of 0.001; counts of shards are summed, in
any order. Rounding moves median and deviation by at most 0.0005 each, so the threshold is within
0.001 of the exact one. FineWeb2 used GlotLID. CLD3's flag "reliable" (0.7 for most languages) would
override the lower thresholds and is ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from data.languages import UNDETERMINED

STEPS = 1000  # of a probability; so a threshold has an error of at most 0.001

Counts = Int64[np.ndarray, "1001"]


@dataclass(frozen=True, kw_only=True)
class MedianLessDeviation:
    """FineWeb2's threshold.

    Attributes:
        lowest: lower bound of all thresholds.
        highest: upper bound of all thresholds.
    """

    lowest: float
    highest: float

    def __str__(self) -> str:
        return (
            "the median of its language's probabilities less their standard deviation, "
            f"between {self.lowest} and {self.highest}"
        )

    def threshold(self, counts: Counts) -> float:
        """Returns the smallest probability with which a page counts as this language.

        Raises:
            ValueError: if the counts are all zero.
        """
        pages = int(counts.sum())
        if pages == 0:
            raise ValueError(
                "A threshold needs the probabilities of at least one page, found none."
            )
        steps = np.arange(STEPS + 1) / STEPS
        mean = (counts @ steps) / pages
        deviation = np.sqrt(counts @ (steps - mean) ** 2 / pages)
        return float(np.clip(_median(counts) - deviation, self.lowest, self.highest))


def fineweb2() -> MedianLessDeviation:
    """Returns the bounds of FineWeb2."""
    return MedianLessDeviation(lowest=0.3, highest=0.9)


def counts(probabilities: Iterable[float]) -> Counts:
    """Returns the histogram of probabilities: [i] counts those nearest to i / 1000."""
    steps = steps_of(np.fromiter(probabilities, float))
    return np.bincount(steps, minlength=STEPS + 1).astype(np.int64)


def steps_of(probabilities: Float[np.ndarray, " pages"]) -> Int64[np.ndarray, " pages"]:
    """Returns the nearest step of each probability.

    Those above 1, which come from fastText's rounding (1.00001), count as 1.
    """
    return np.rint(np.clip(probabilities, 0, 1) * STEPS).astype(np.int64)


def decide(language: str, probability: float, thresholds: Mapping[str, float]) -> str:
    """Returns the language, or "und" if the probability is below the language's threshold."""
    certain = probability >= thresholds.get(language, 1.0)
    return language if certain else UNDETERMINED


def _median(counts: Counts) -> float:
    """Returns the middle value, or the mean of the two in the middle."""
    below = np.cumsum(counts)
    middle = [(below[-1] - 1) // 2, below[-1] // 2]
    return float(np.searchsorted(below, middle, side="right").mean()) / STEPS
