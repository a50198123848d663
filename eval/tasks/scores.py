"""Scores and gains on a task, per language and on average, with 95% intervals in closed form.

The score of a side is the mean over its runs. Gain is candidate minus baseline, in percentage
points: positive means that the candidate is better. Examples are paired by language and identity.

The sampling unit is the example, as the page is in `eval.statistics`. Where languages
share sentences, the same identity in all of them is one draw: a mean over 96 translations of 204
sentences rests on 204 draws, not on 19,584. Where a side has several runs, the run is a second
sampling unit. Variances and degrees of freedom: `eval.statistics`.

Script variants are left out of means. A language with one example has no interval, and is left out
of means as well. Where all examples and runs agree, the interval of a score has no width. A gain of
which all examples are alike has none, and no p-value of a gain is below that of a sign test whose
examples all agree, 2^(1 - examples): with three examples nothing is beyond noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from data.languages import get
from eval.statistics import (
    Contributions,
    Interval,
    StandardError,
    adjusted_p_values,
    standard_error,
)
from eval.tasks.metrics import Metric
from eval.tasks.predictions import Predictions, check_same_examples

Runs = Sequence[Predictions]
TIE = 1e-9  # percentage points, or nats per sentence, below which a gain is rounding


@dataclass(frozen=True, kw_only=True)
class ScoreInterval:
    """A score in percent, or a gain in percentage points.

    Attributes:
        value: the score or gain.
        low, high: ends of the 95% interval; None for a single example, and for a gain of which all
            examples are alike.
        p_value: p-value of a gain whose true value is 0, corrected for the number of languages if
            it is that of one language; None for a score, a script variant and a single example.
        examples: number of examples; of a mean, number of different identities.
        languages: number of languages.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    examples: int
    languages: int = 1

    @property
    def ends(self) -> Interval:
        """The value with the ends of its interval."""
        return Interval(self.value, self.low, self.high)


def language_scores(runs: Runs, metric: Metric) -> dict[str, ScoreInterval]:
    """Returns the score of each language, mean over runs, ordered by code.

    Raises:
        DataError: if the runs predicted different examples.
    """
    parts = _parts([runs], metric)
    return {part.language: replace(_language_estimate(part), p_value=None) for part in parts}


def mean_score(runs: Runs, metric: Metric) -> ScoreInterval | None:
    """Returns the mean score over languages; None where no language has two examples.

    Raises:
        DataError: if the runs predicted different examples.
    """
    mean = _mean(_parts([runs], metric))
    return mean and replace(mean, p_value=None)


def language_gains(baseline: Runs, candidate: Runs, metric: Metric) -> dict[str, ScoreInterval]:
    """Returns the gain of each language, ordered by code.

    Raises:
        DataError: if the runs predicted different examples.
    """
    parts = _parts([candidate, baseline], metric)
    gains = {part.language: _gain(_language_estimate(part)) for part in parts}
    corrected = adjusted_p_values(
        [None if get(code).is_script_variant else gain.p_value for code, gain in gains.items()]
    )
    return {
        code: replace(gain, p_value=p_value)
        for (code, gain), p_value in zip(gains.items(), corrected, strict=True)
    }


def mean_gain(baseline: Runs, candidate: Runs, metric: Metric) -> ScoreInterval | None:
    """Returns the mean gain over languages; None where no language has two examples.

    Raises:
        DataError: if the runs predicted different examples.
    """
    mean = _mean(_parts([candidate, baseline], metric))
    return mean and _gain(mean)


def _gain(estimate: ScoreInterval) -> ScoreInterval:
    """Returns a gain that is no more certain than its number of examples allows."""
    if estimate.p_value is None:
        return estimate
    alike = estimate.low == estimate.high != 0
    ends = (None, None) if alike else (estimate.low, estimate.high)
    least = 2.0 ** (1 - estimate.examples)
    return replace(estimate, low=ends[0], high=ends[1], p_value=max(estimate.p_value, least))


class _Part(NamedTuple):
    """One language's score, or its gain.

    Attributes:
        language: its code.
        value: the score or gain.
        contributions: contributions to it of each side's runs and examples.
        identity: identity of each example.
    """

    language: str
    value: float
    contributions: list[Float[np.ndarray, "runs examples"]]
    identity: np.ndarray


def _parts(sides: Sequence[Runs], metric: Metric) -> list[_Part]:
    """Returns the languages' scores of one side, or the first side's gains over the second."""
    check_same_examples([run for runs in sides for run in runs])
    statistics = [np.stack([metric.statistics(run) for run in runs]) for runs in sides]
    languages, of_example = sides[0][0].by_language
    parts = []
    for number, code in enumerate(languages):
        chosen = of_example == number
        scored = [_score(of_side[:, chosen], metric) for of_side in statistics]
        signs = (1.0, -1.0)[: len(sides)]
        value = sum(sign * score for sign, (score, _) in zip(signs, scored, strict=True))
        values = [sign * values for sign, (_, values) in zip(signs, scored, strict=True)]
        parts.append(_Part(code, value, values, sides[0][0].identity[chosen]))
    return parts


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


def _language_estimate(part: _Part) -> ScoreInterval:
    examples = part.identity.size
    shares, zeros = np.full(examples, 1 / examples), np.zeros(examples, np.int64)
    sides = [Contributions(values, shares, zeros) for values in part.contributions]
    error = standard_error(sides) if examples > 1 else None
    return _estimate(part.value, error, examples)


def _mean(parts: Sequence[_Part]) -> ScoreInterval | None:
    if not (counted := _counted_languages(parts)):
        return None
    sides = _contributions(counted)
    assert sides[0].clusters is not None  # `_contributions` names them
    value = float(np.mean([part.value for part in counted]))
    mean = _estimate(value, standard_error(sides), np.unique(sides[0].clusters).size)
    return replace(mean, languages=len(counted))


def _counted_languages(parts: Sequence[_Part]) -> list[_Part]:
    """Returns the languages that count in a mean."""
    return [
        part for part in parts
        if part.identity.size > 1 and not get(part.language).is_script_variant
    ]  # fmt: skip


def _contributions(parts: Sequence[_Part]) -> list[Contributions]:
    """Returns each side's contributions to the mean over languages."""
    sizes = [part.identity.size for part in parts]
    shares = np.repeat(1 / np.array(sizes), sizes)
    languages = np.repeat(np.arange(len(parts)), sizes)
    identities = np.concatenate([part.identity for part in parts]).astype(str)
    _, clusters = np.unique(identities, return_inverse=True)
    return [
        Contributions(np.concatenate(values, axis=1) / len(parts), shares, languages, clusters)
        for values in zip(*(part.contributions for part in parts), strict=True)
    ]


def _estimate(value: float, error: StandardError | None, examples: int) -> ScoreInterval:
    # Seeds with 51 and 55 of 204 right tie with 54 and 52, but their means differ by 3.6e-15.
    value = 0.0 if abs(value) < TIE else value
    _, low, high = Interval(value) if error is None else error.around(value)
    return ScoreInterval(
        value=value,
        low=low,
        high=high,
        p_value=None if error is None else error.p_value(value),
        examples=examples,
    )
