"""Metrics of tasks, implemented without mswitch's code: statistics of an example, score of sums."""

import collections
import re
import string
import unicodedata
from collections.abc import Callable

import numpy as np
import pandas as pd
import regex

Function = Callable[[np.ndarray], complex]
ARTICLES = {
    "en": "a|an|the",
    "es": "un|una|unos|unas|el|la|los|las",
    "vi": "của|là|cái|chiếc|những",
    "de": "ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des",
}
MLQA = ("ar", "de", "en", "es", "hi", "vi", "zh")
UNSPACED = regex.compile(
    r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Yi}]&&\p{Alphabetic}]"
    r"|\p{Line_Break=Complex_Context}",
    regex.V1,
)


def as_decoded(text: str) -> str:
    """Returns a text as a vocabulary gives it back."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def words(text: str, code: str | None) -> list[str]:
    """Returns an answer's words by MLQA's rules for a language, or for None by SQuAD's."""
    text = text if code is None or code in MLQA else as_decoded(text)
    text = "".join(
        c
        for c in text.lower()
        if c not in string.punctuation and (code is None or unicodedata.category(c)[0] != "P")
    )
    if code == "ar":
        text = text.replace("ال", " ")
    elif (code or "en") in ARTICLES:
        text = re.sub(rf"\b({ARTICLES[code or 'en']})\b", " ", text)
    if code == "zh":
        text = re.sub(r"([\u4e00-\u9fa5])", r" \1 ", text)
    elif code is not None and code not in MLQA:
        text = UNSPACED.sub(lambda one: f" {one[0]} ", text)
    return text.split()


def f1(said: list[str], answer: list[str]) -> float:
    """Returns F1 of two lists of words."""
    common = sum((collections.Counter(said) & collections.Counter(answer)).values())
    return 2 * common / (len(said) + len(answer)) if common else 0.0


def of_words(score: Callable, mlqa: bool) -> Callable[[pd.Series], np.ndarray]:
    """Returns the statistics of a mean over the best answers."""

    def one(row: pd.Series) -> np.ndarray:
        code = row.language if mlqa else None
        said = words(row.prediction, code)
        return np.array([max(float(score(said, words(a, code))) for a in row.answers), 1.0])

    return one


def equal(said: list[str], answer: list[str]) -> bool:
    """Returns whether two lists of words are the same."""
    return said == answer


def n_grams(said: str, answer: str) -> np.ndarray:
    """Returns n-grams of the prediction, of the answer, and common ones, for n from 1 to 6."""
    found = []
    for n in range(1, 7):
        one, other = (
            collections.Counter(text[at : at + n] for at in range(len(text) - n + 1))
            for text in ("".join(said.split()), "".join(answer.split()))
        )
        found += [one.total() if other else 0, other.total(), (one & other).total()]
    return np.array(found, float)


def chrf(sums: np.ndarray) -> complex:
    """Returns chrF of sums of n-grams."""
    counts = sums.reshape(-1, 3)
    counts = counts[(counts[:, 0].real > 0) & (counts[:, 1].real > 0)]
    if not counts[:, 2].real.any():
        return 0.0
    precision, recall = ((counts[:, 2] / counts[:, at]).mean() for at in (0, 1))
    return 500 * precision * recall / (4 * precision + recall)


def best_n_grams(row: pd.Series) -> np.ndarray:
    """Returns the counts against the answer that scores best."""
    said = as_decoded(row.prediction)
    return max((n_grams(said, as_decoded(answer)) for answer in row.answers), key=chrf)


def percent(sums: np.ndarray) -> complex:
    """Returns a mean in percent."""
    return 100 * sums[0] / sums[1]


def mean(sums: np.ndarray) -> complex:
    """Returns a mean."""
    return sums[0] / sums[1]


def right(column: str) -> Callable[[pd.Series], np.ndarray]:
    """Returns the statistics of an accuracy."""
    return lambda row: np.array([float(row[column] in list(row.answers)), 1.0])


def written(row: pd.Series) -> np.ndarray:
    """Returns the statistics of an accuracy of generated text."""
    right_ones = [as_decoded(answer) for answer in row.answers]
    return np.array([float(as_decoded(row.prediction) in right_ones), 1.0])


METRICS: dict[str, tuple[Callable[[pd.Series], np.ndarray], Function]] = {
    "accuracy by likelihood": (right("likeliest_label"), percent),
    "accuracy by generation": (written, percent),
    "F1": (of_words(f1, mlqa=True), percent),
    "exact match": (of_words(equal, mlqa=True), percent),
    "F1 (SQuAD)": (of_words(f1, mlqa=False), percent),
    "exact match (SQuAD)": (of_words(equal, mlqa=False), percent),
    "chrF": (best_n_grams, chrf),
    "nats per sentence": (lambda row: np.array([row.loss_nats, 1.0]), mean),
}
