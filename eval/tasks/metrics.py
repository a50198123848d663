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

**Exact match and F1** (Rajpurkar et al. 2016) compare words by the rules of SQuAD or of MLQA.
SQuAD's (evaluate-v1.1.py): lower case, without ASCII punctuation and English articles. MLQA's
(mlqa_evaluation_v1.py; Lewis et al. 2020): lower case, without punctuation of all scripts and
without the articles of the language. They are kept to the letter, so that scores compare with
published ones: the Vietnamese "articles" are also classifiers and a preposition, and the Arabic one
is removed anywhere in a word. Each Han character from U+4E00 to U+9FA5 is a word in Chinese.

MLQA has seven languages. In the others both texts go through NFKC first, as predictions already
have (`as_decoded`); no article is removed, and each character is a word where spaces do not
separate words (`data.scripts.UNSPACED_SET`), as in Chinese.

**chrF** (Popović 2015; sacrebleu 2, chrF2 without words) combines the mean precision P and the mean
recall R over n-grams of 1 to 6 characters that both sides have: 5 P R ÷ (4 P + R), in percent. For
each n an example has three counts: n-grams of the prediction, of the best answer, and common ones.
"""

import functools
import itertools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import regex
from jaxtyping import Float

from data.errors import DataError
from data.scripts import UNSPACED_SET, with_short_runs
from eval.tasks.predictions import Predictions

ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
}
ARABIC_ARTICLE = "ال"
HAN = regex.compile("[\u4e00-\u9fa5]")
UNSPACED = regex.compile(UNSPACED_SET, flags=regex.V1)
MLQA = frozenset({"ar", "de", "en", "es", "hi", "vi", "zh"})
BETA_SQUARED = 4  # of chrF
PERCENT = 100.0


def as_decoded(text: str) -> str:
    """Returns a text as a SentencePiece vocabulary gives it back: by NFKC, with single spaces.

    Answers are compared like that: no network can write Thai "\u0e33", "²" or "…" in another form.
    Marks beyond 30 in a row are dropped, as in `data.scripts`.
    """
    return " ".join(unicodedata.normalize("NFKC", with_short_runs(text)).split())


def squad_words(text: str) -> list[str]:
    """Returns the words of an answer as SQuAD compares them."""
    letters = (character for character in text.lower() if character not in string.punctuation)
    return _without_articles("".join(letters), "en").split()


def mlqa_words(text: str, language: str) -> list[str]:
    """Returns the words of an answer as MLQA compares them.

    Args:
        text: the answer.
        language: mC4's code of its language.
    """
    text = text if language in MLQA else as_decoded(text)
    letters = (character for character in text.lower() if not _is_punctuation(character))
    text = _without_articles("".join(letters), language)
    if language == "zh" or language not in MLQA:
        text = (HAN if language == "zh" else UNSPACED).sub(r" \g<0> ", text)
    return text.split()


def _without_articles(text: str, language: str) -> str:
    if language == "ar":
        return text.replace(ARABIC_ARTICLE, " ")
    if language not in ARTICLES:
        return text
    return re.sub(rf"\b({'|'.join(ARTICLES[language].split())})\b", " ", text)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P"


def character_statistics(predictions: Predictions) -> Float[np.ndarray, "examples 18"]:
    """Returns the counts of each example against the answer that it scores best with.

    Raises:
        DataError: if the package sacrebleu is not installed.
    """
    answers = [list(map(as_decoded, of_example)) for of_example in predictions.answers]
    references = list(itertools.zip_longest(*answers))  # None where answers are fewer
    # Not public, but what corpus_score sums up; the constraints pin the version, a test compares.
    counts = library()._extract_corpus_statistics(
        list(map(as_decoded, predictions.prediction)), references
    )
    return np.array(counts, float)


def character_score(sums: Float[np.ndarray, "18"]) -> float:
    """Returns chrF in percent."""
    return float(library()._compute_f_score(sums.tolist()))


def character_gradient(sums: Float[np.ndarray, "18"]) -> Float[np.ndarray, "18"]:
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


def task_metrics(metric: str, has_labels: bool, has_text: bool = True) -> tuple[Metric, ...]:
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


def largest_class(languages: Iterable[str], targets: Iterable[str]) -> float:
    """Returns the accuracy of always the commonest target, in percent, mean over languages."""
    counts: dict[str, Counter[str]] = {}
    for language, target in zip(languages, targets, strict=True):
        counts.setdefault(language, Counter())[target] += 1
    return fmean(100 * max(labels.values()) / labels.total() for labels in counts.values())


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
    def statistics(predictions: Predictions) -> np.ndarray:
        rows = zip(predictions.prediction, predictions.answers, predictions.language, strict=True)
        return mean_statistics(
            score(words(prediction, code), [words(answer, code) for answer in answers])
            for prediction, answers, code in rows
        )

    return statistics


def _squad_words(text: str, _: str) -> list[str]:
    return squad_words(text)


def _by_likelihood(predictions: Predictions) -> Float[np.ndarray, "examples 2"]:
    return mean_statistics(
        label in answers
        for label, answers in zip(predictions.likeliest_label, predictions.answers, strict=True)
    )


def _by_generation(predictions: Predictions) -> Float[np.ndarray, "examples 2"]:
    return mean_statistics(
        as_decoded(text) in map(as_decoded, answers)
        for text, answers in zip(predictions.prediction, predictions.answers, strict=True)
    )


def mean_statistics(values: Iterable[float]) -> Float[np.ndarray, "examples 2"]:
    """Returns the statistics of a mean: each value, and 1 to count it."""
    column = np.array(list(values), float)
    return np.stack([column, np.ones_like(column)], axis=1)


def mean_metric(
    name: str, statistics: Callable[[Predictions], np.ndarray], scale: float = PERCENT
) -> Metric:
    """Returns the mean, times a scale, of values with these `mean_statistics`."""
    return Metric(
        name,
        statistics,
        score=lambda sums: float(scale * sums[0] / sums[1]),
        gradient=lambda sums: scale * np.array([1 / sums[1], -sums[0] / sums[1] ** 2]),
    )


ACCURACIES = (
    mean_metric("accuracy by likelihood", _by_likelihood),
    mean_metric("accuracy by generation", _by_generation),
)
F1 = mean_metric("F1", _by_words(best_f1, mlqa_words))
EXACT_MATCH = mean_metric("exact match", _by_words(best_exact_match, mlqa_words))
SQUAD_F1 = mean_metric("F1 (SQuAD)", _by_words(best_f1, _squad_words))
SQUAD_EXACT_MATCH = mean_metric("exact match (SQuAD)", _by_words(best_exact_match, _squad_words))
CHRF = Metric("chrF", character_statistics, character_score, character_gradient)
