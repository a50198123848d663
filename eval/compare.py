"""One comparison of two groups of runs by one metric: gains per language, their mean, verdicts.

A metric gives `Scores` of a group: a value per language, mean over the group's runs, and what each
run and page contributed to it (`statistics`). A page is the sampling unit; for tasks it is an
example. Everything else follows from these scores alone, whatever the metric is:

    estimate([(1.0, one)], ["sw"])                      a group's own loss, with its interval
    estimate([(1.0, one), (-1.0, other)], ["sw"])       the gain in a language
    estimate([(1.0, one), (-1.0, other)], codes)        the mean gain over languages

Script variants are not languages of their own: they have gains, but are in no mean and are not
tested. A language of one page has no interval, and is in no mean either.

Where examples are right or wrong, all may change alike, and no variance is seen. Such scores have
`by_signs`: the p-value of a gain is at least that of a sign test whose examples all agree,
2^(1 - examples), so with three examples nothing is beyond noise. A gain of which all examples are
alike has no interval, and one below `TIE` is a tie.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from data.languages import get
from eval.statistics import (
    FALSE_DISCOVERY_RATE,
    Contributions,
    adjusted_p_values,
    standard_error,
)

TIE = 1e-9  # percentage points, or nats per sentence, below which a gain is rounding


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95% interval.

    Attributes:
        value: the number: a loss, a score in percent, or a gain.
        low, high: ends of the interval; None over a single page or example, and for a gain of
            which all examples are alike.
        p_value: p-value of a gain whose true value is 0, corrected for the number of languages if
            it is that of one language; None for a loss or score, a script variant and where there
            is no interval.
        examples: number of pages or examples; of examples in several languages, of different ones.
        languages: number of languages.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    examples: int
    languages: int = 1

    @property
    def ends(self) -> tuple[float, float | None, float | None]:
        """The value with the ends of its interval."""
        return self.value, self.low, self.high

    @property
    def verdict(self) -> str:
        """`better` or `worse` beyond noise, `uncorrected` or `unclear`.

        `uncorrected` is a language whose interval excludes 0, but which the correction for many
        languages does not count beyond noise.
        """
        if self.p_value is None:
            return "unclear"
        if self.p_value < FALSE_DISCOVERY_RATE:
            return "better" if self.value > 0 else "worse"
        within = self.low is None or self.high is None or self.low <= 0 <= self.high
        return "unclear" if within else "uncorrected"


@dataclass(frozen=True)
class Scores:
    """A group's scores by one metric.

    Attributes:
        codes: codes of the languages, ordered.
        values: value of each language, mean over runs.
        contributions: contributions of runs and pages to the values.
        by_signs: whether a gain is no more certain than a sign test of its examples.
    """

    codes: tuple[str, ...]
    values: Float[np.ndarray, " languages"]
    contributions: Contributions
    by_signs: bool = False

    @property
    def examples(self) -> Int[np.ndarray, " languages"]:
        """Number of pages or examples of each language."""
        return np.bincount(self.contributions.languages, minlength=len(self.codes))

    def over(self, codes: Collection[str]) -> tuple[Float[np.ndarray, " chosen"], Contributions]:
        """Returns the values of some languages, and the contributions to their mean."""
        chosen = np.array([code in codes for code in self.codes])
        return self.values[chosen], self.contributions.of_languages(chosen)


def ratios(
    codes: tuple[str, ...],
    of_page: Int[np.ndarray, " pages"],
    amounts: Float[np.ndarray, "runs pages"],
    sizes: Num[np.ndarray, " pages"],
    counted: Bool[np.ndarray, " pages"],
) -> Scores:
    """Returns scores that are amounts ÷ sizes, both summed over the pages of a language.

    Args:
        codes: languages, ordered.
        of_page: number of each page's language.
        amounts: loss per run and page, summed over the page.
        sizes: divisor of each page, equal for all runs.
        counted: whether a page counts. A language without such a page has the value of all its
            pages, and no contribution.
    """
    known = np.bincount(of_page[counted], minlength=len(codes)) > 0
    used = counted | ~known[of_page]
    totals = np.bincount(of_page[used], sizes[used], len(codes))
    values = np.bincount(of_page[used], amounts[:, used].mean(axis=0), len(codes)) / totals
    languages, amounts = of_page[counted], amounts[:, counted]
    shares = sizes[counted] / totals[languages]
    contributions = amounts / totals[languages] - values[languages] * shares
    return Scores(codes, values, Contributions(contributions, shares, languages))


Parts = Sequence[tuple[float, Scores]]


def estimate(parts: Parts, codes: Collection[str]) -> Estimate:
    """Returns a sum of scores, each times its factor, as a mean over languages."""
    chosen = [(factor, *scores.over(codes)) for factor, scores in parts]
    value = float(np.sum([factor * values for factor, values, _ in chosen], axis=0).mean())
    if (by_signs := parts[0][1].by_signs) and abs(value) < TIE:
        # Seeds with 51 and 55 of 204 right tie with 54 and 52, but their means differ by 3.6e-15.
        value = 0.0
    sides = [contributions.times(factor) for factor, _, contributions in chosen]
    estimated = Estimate(value=value, examples=sides[0].draws, languages=chosen[0][1].size)
    if (error := standard_error(sides)) is None:
        return estimated
    low, high = error.around(value)
    estimated = replace(estimated, low=low, high=high)
    if len(parts) == 1:
        return estimated
    estimated = replace(estimated, p_value=error.p_value(value))
    return _no_surer_than_signs(estimated) if by_signs else estimated


def _no_surer_than_signs(gain: Estimate) -> Estimate:
    assert gain.p_value is not None  # it has an interval
    alike = gain.low == gain.high != 0
    low, high = (None, None) if alike else (gain.low, gain.high)
    return replace(gain, low=low, high=high, p_value=max(gain.p_value, 2.0 ** (1 - gain.examples)))


def each(parts: Parts) -> dict[str, Estimate]:
    """Returns the estimate of each language, ordered by code, p-values corrected for many."""
    estimated = {code: estimate(parts, [code]) for code in parts[0][1].codes}
    corrected = adjusted_p_values(
        [None if get(code).is_script_variant else gain.p_value for code, gain in estimated.items()]
    )
    return {
        code: replace(gain, p_value=p_value)
        for (code, gain), p_value in zip(estimated.items(), corrected, strict=True)
    }


def mean(parts: Parts, codes: Collection[str] | None = None) -> Estimate | None:
    """Returns the mean over languages, by default over all that count; None where none does."""
    chosen = [code for code in languages_in_mean(parts[0][1]) if codes is None or code in codes]
    return estimate(parts, chosen) if chosen else None


def languages_in_mean(scores: Scores) -> list[str]:
    """Returns the languages that count in a mean."""
    examples = zip(scores.codes, scores.examples.tolist(), strict=True)
    return [code for code, many in examples if many > 1 and not get(code).is_script_variant]


class Tally(NamedTuple):
    """Number of languages, of those that are better and worse, and of those beyond noise."""

    languages: int
    better: int
    worse: int
    better_significantly: int
    worse_significantly: int


def tally(gains: Mapping[str, Estimate]) -> Tally:
    """Returns the counts of languages, script variants left out."""
    counted = [gain for code, gain in gains.items() if not get(code).is_script_variant]
    verdicts = [gain.verdict for gain in counted]
    return Tally(
        languages=len(counted),
        better=sum(gain.value > 0 for gain in counted),
        worse=sum(gain.value < 0 for gain in counted),
        better_significantly=verdicts.count("better"),
        worse_significantly=verdicts.count("worse"),
    )
