"""Scores on a task, for the comparison of two sides (`eval.compare`).

The score of a side is the mean over its runs. Examples are paired by language and identity.

The sampling unit is the example, as the page is in `eval.statistics`. Where languages
share sentences, the same identity in all of them is one draw: a mean over 96 translations of 204
sentences rests on 204 draws, not on 19,584. Where a side has several runs, the run is a second
sampling unit. Variances and degrees of freedom: `eval.statistics`.

A score is a smooth function of sums of statistics over examples. To first order an example
contributes its statistics times the gradient of the score. Where all examples and runs agree, the
interval of a score has no width.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eval.compare import Scores
from eval.statistics import Contributions
from eval.tasks.metrics import Metric
from eval.tasks.predictions import Predictions

Runs = Sequence[Predictions]


def task_scores(runs: Runs, metric: Metric) -> Scores:
    """Returns the score of each language, mean over runs that predicted the same examples."""
    statistics = np.stack([metric.statistics(run) for run in runs])
    codes, of_example = runs[0].by_language
    scored = [_score(statistics[:, of_example == number], metric) for number in range(len(codes))]
    _, clusters = np.unique(runs[0].identity.astype(str), return_inverse=True)
    contributions = Contributions(
        np.concatenate([values for _, values in scored], axis=1),
        1 / np.bincount(of_example)[of_example],
        of_example,
        clusters,
    )
    return Scores(codes, np.array([score for score, _ in scored]), contributions, by_signs=True)


def _score(
    statistics: Float[np.ndarray, "runs examples sums"], metric: Metric
) -> tuple[float, Float[np.ndarray, "runs examples"]]:
    """Returns the mean score over runs, and the contributions to it."""
    sums = statistics.sum(axis=1)
    scores = np.array([metric.score(run_sums) for run_sums in sums])
    gradients = np.stack([metric.gradient(run_sums) for run_sums in sums])
    within = np.einsum("res,rs->re", statistics, gradients)
    between = (scores - scores.mean())[:, None] / statistics.shape[1]
    return float(scores.mean()), within + between
