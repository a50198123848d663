"""chrF by `sacrebleu`, and its gradient, which the library lacks.

The score combines the mean precision P and the mean recall R over n-grams of 1 to 6 characters that
both sides have: 5 P R ÷ (4 P + R), in percent. For each n an example has three counts: n-grams of
the prediction, of the best answer, and common ones.

Source: Popović 2015, "chrF: character n-gram F-score"; sacrebleu 2, chrF2 without words.
"""

import functools
import itertools
from typing import Any

import numpy as np
from jaxtyping import Float

from data.errors import DataError
from eval.tasks.normalization import as_decoded
from eval.tasks.predictions import Predictions

BETA_SQUARED = 4
PERCENT = 100.0


def statistics(found: Predictions) -> Float[np.ndarray, "examples 18"]:
    """Returns the counts of each example against the answer that it scores best with.

    Raises:
        DataError: if the package sacrebleu is not installed.
    """
    answers = [list(map(as_decoded, one)) for one in found.answers]
    references = list(itertools.zip_longest(*answers))  # None where answers are fewer
    # Not public, but what corpus_score sums up; the constraints pin the version, a test compares.
    counts = library()._extract_corpus_statistics(
        list(map(as_decoded, found.prediction)), references
    )
    return np.array(counts, float)


def score(sums: Float[np.ndarray, "18"]) -> float:
    """Returns chrF in percent."""
    return float(library()._compute_f_score(sums.tolist()))


def gradient(sums: Float[np.ndarray, "18"]) -> Float[np.ndarray, "18"]:
    """Returns the gradient of chrF with respect to the sums; 0 where nothing is in common."""
    predicted, expected, common = sums.reshape(-1, 3).T
    both = (predicted > 0) & (expected > 0)
    if not common[both].any():
        return np.zeros(sums.size)
    orders = both.sum()
    predicted, expected = np.where(both, predicted, 1.0), np.where(both, expected, 1.0)
    precision, recall = (np.sum(common / n, where=both) / orders for n in (predicted, expected))
    whole = (BETA_SQUARED * precision + recall) ** 2
    by_precision = (1 + BETA_SQUARED) * recall**2 / whole
    by_recall = (1 + BETA_SQUARED) * BETA_SQUARED * precision**2 / whole
    of_counts = [
        -by_precision * common / predicted**2,
        -by_recall * common / expected**2,
        by_precision / predicted + by_recall / expected,
    ]
    return (PERCENT / orders * both * np.array(of_counts)).T.ravel()


@functools.cache
def library() -> Any:
    """Returns sacrebleu's chrF.

    Raises:
        DataError: if it is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise DataError(
            "chrF needs the package sacrebleu, which is not installed; "
            "`make install EXTRAS=demo,dev,tasks` in the checkout installs it."
        ) from error
    return CHRF()
