"""Metrics of tasks, in percent, as smooth functions of sums over examples.

| metric | what it is |
|---|---|
| accuracy by likelihood | share of examples whose likeliest label is right |
| accuracy by generation | share of examples whose generated text is right, to the letter |
| exact match, F1 | mean over examples of the best over all answers, after normalisation |
| chrF | `sacrebleu`'s corpus score: sums over examples of counts of character n-grams |

A metric has statistics per example, and a score of their sums with its gradient. A mean is the
quotient of two sums. The contribution of an example to a score is the gradient times its
statistics, which sums to 0 over examples (every score is homogeneous of degree 0).

Sources: exact match and F1, Rajpurkar et al. 2016; chrF, Popović 2015.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.tasks import character_f
from eval.tasks.normalization import as_decoded, mlqa_words, squad_words
from eval.tasks.predictions import Predictions

PERCENT = 100.0
Sums = Float[np.ndarray, " sums"]


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: name in tables and reports.
        statistics: returns the statistics of each example.
        score: returns the score, in percent, of sums of statistics.
        gradient: returns the gradient of the score.
    """

    name: str
    statistics: Callable[[Predictions], Float[np.ndarray, "examples sums"]]
    score: Callable[[Sums], float]
    gradient: Callable[[Sums], Sums]


def metrics_of(metric: str, has_labels: bool, has_text: bool = True) -> tuple[Metric, ...]:
    """Returns the metrics that describe a task, the most important first.

    Args:
        metric: `metric` of the task's description.
        has_labels: whether there are losses of labels.
        has_text: whether text was generated beside those losses; without them it always is.
    """
    by_likelihood, by_generation = ACCURACIES
    accuracies = ACCURACIES if has_text else (by_likelihood,)
    return {
        "accuracy": accuracies if has_labels else (by_generation,),
        "f1": (F1, EXACT_MATCH),
        "squad_f1": (SQUAD_F1, SQUAD_EXACT_MATCH),
        "chrf": (CHRF,),
    }[metric]


def best_f1(prediction: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Returns the best F1 over answers, from 0 to 1, all given as words."""
    return max(_f1(prediction, answer) for answer in answers)


def best_exact_match(prediction: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Returns 1 if the prediction is one of the answers, else 0, all given as words."""
    return float(any(prediction == answer for answer in answers))


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = (Counter(prediction) & Counter(answer)).total()
    return 2 * common / (len(prediction) + len(answer)) if common else 0.0


def _by_words(
    score: Callable[[Sequence[str], Sequence[Sequence[str]]], float],
    words: Callable[[str, str], list[str]],
) -> Callable[[Predictions], np.ndarray]:
    def values(found: Predictions) -> np.ndarray:
        rows = zip(found.prediction, found.answers, found.language, strict=True)
        return _of_mean(
            score(words(prediction, code), [words(answer, code) for answer in answers])
            for prediction, answers, code in rows
        )

    return values


def _squad_words(text: str, _: str) -> list[str]:
    return squad_words(text)


def _by_likelihood(found: Predictions) -> Float[np.ndarray, "examples 2"]:
    return _of_mean(
        label in answers
        for label, answers in zip(found.likeliest_label, found.answers, strict=True)
    )


def _by_generation(found: Predictions) -> Float[np.ndarray, "examples 2"]:
    return _of_mean(
        as_decoded(text) in map(as_decoded, answers)
        for text, answers in zip(found.prediction, found.answers, strict=True)
    )


def _of_mean(values: Iterable[float]) -> Float[np.ndarray, "examples 2"]:
    """Returns the statistics of a mean: each value, and 1 to count it."""
    column = np.array(list(values), float)
    return np.stack([column, np.ones_like(column)], axis=1)


def _mean(sums: Sums) -> float:
    return float(PERCENT * sums[0] / sums[1])


def _mean_gradient(sums: Sums) -> Sums:
    return PERCENT * np.array([1 / sums[1], -sums[0] / sums[1] ** 2])


def _mean_of(name: str, statistics: Callable[[Predictions], np.ndarray]) -> Metric:
    return Metric(name, statistics, _mean, _mean_gradient)


ACCURACIES = (
    _mean_of("accuracy by likelihood", _by_likelihood),
    _mean_of("accuracy by generation", _by_generation),
)
F1 = _mean_of("F1", _by_words(best_f1, mlqa_words))
EXACT_MATCH = _mean_of("exact match", _by_words(best_exact_match, mlqa_words))
SQUAD_F1 = _mean_of("F1 (SQuAD)", _by_words(best_f1, _squad_words))
SQUAD_EXACT_MATCH = _mean_of("exact match (SQuAD)", _by_words(best_exact_match, _squad_words))
CHRF = Metric("chrF", character_f.statistics, character_f.score, character_f.gradient)
