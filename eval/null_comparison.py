"""The null comparison: one architecture against itself, with other seeds.

A result matters only where it exceeds the differences that seeds alone cause. So the runs of each
side that has two or more are divided into two halves, and the halves are compared as the sides are.
The half that is better in more languages takes the role of the candidate. A half has fewer runs
than its side, so its noise tends to be greater than that of the result.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.gains import LanguageGain, Summary, language_gains, summarise
from eval.losses import Unit
from eval.sides import Side

MOST_DIVISIONS = 10  # all of five runs


@dataclass(frozen=True, kw_only=True)
class NullComparison:
    """One division of a side's runs.

    Attributes:
        name: name of the side.
        baseline_seeds, candidate_seeds: seeds of the two halves.
        summary: counts and means over languages.
        gains: gains per language, best first.
    """

    name: str
    baseline_seeds: tuple[int, ...]
    candidate_seeds: tuple[int, ...]
    summary: Summary
    gains: Mapping[str, LanguageGain]

    @property
    def intervals_over(self) -> str:
        """What its intervals are over where a half has one run, unlike the result's; else empty."""
        single = [len(seeds) for seeds in (self.baseline_seeds, self.candidate_seeds)].count(1)
        return ("", "over pages and the runs of one half", "over pages only")[single]


def null_comparisons(side: Side, seeds: Sequence[int], unit: Unit) -> tuple[NullComparison, ...]:
    """Returns the comparisons of the halves of a side's runs; () for a single run.

    Args:
        side: a side.
        seeds: seed of each of its runs.
        unit: unit of the gains: that of the report, which has bits per byte where the sides have
            different vocabularies. Halves of one side have one vocabulary.
    """
    return tuple(_null_comparison(side, seeds, unit, *halves) for halves in divisions(len(seeds)))


def divisions(runs: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yields divisions of runs into two halves, each division once.

    Of more than `MOST_DIVISIONS` those are taken that lie evenly in their order: the first ones
    would have the first runs in one half.
    """
    halves = itertools.combinations(range(runs), runs // 2)
    both = ((half, tuple(sorted({*range(runs)} - {*half}))) for half in halves if half)
    once = (division for division in both if runs % 2 or 0 in division[0])
    count = math.comb(runs, runs // 2) // (1 if runs % 2 else 2)
    distance = max(count / MOST_DIVISIONS, 1)
    chosen = {int(distance * number) for number in range(MOST_DIVISIONS)}
    yield from (division for number, division in enumerate(once) if number in chosen)


def _null_comparison(
    side: Side,
    seeds: Sequence[int],
    unit: Unit,
    baseline: tuple[int, ...],
    candidate: tuple[int, ...],
) -> NullComparison:
    gains, summary = _compare_halves(side.only(baseline), side.only(candidate), unit)
    if summary.languages_improved < summary.languages_worse:
        baseline, candidate = candidate, baseline
        gains, summary = _compare_halves(side.only(baseline), side.only(candidate), unit)
    return NullComparison(
        name=side.name,
        baseline_seeds=tuple(seeds[run] for run in baseline),
        candidate_seeds=tuple(seeds[run] for run in candidate),
        summary=summary,
        gains=gains,
    )


def _compare_halves(
    baseline: Side, candidate: Side, unit: Unit
) -> tuple[Mapping[str, LanguageGain], Summary]:
    gains = language_gains(baseline, candidate, {}, unit)
    return gains, summarise(gains, baseline, candidate, unit)


def with_most_languages(nulls: Sequence[NullComparison]) -> NullComparison | None:
    """Returns the division in which most languages are better, of either side; None without one."""
    return max(nulls, key=lambda null: null.summary.languages_improved, default=None)


def sentence(nulls: Sequence[NullComparison]) -> str:
    """Returns a sentence on the gain between seeds, over all divisions; empty without one."""
    sides = itertools.groupby(nulls, lambda null: null.name)
    parts = [_side_in_words(list(of_side)) for _, of_side in sides]
    return f"The same comparison between seeds of one side: {'; '.join(parts)}." if parts else ""


def _side_in_words(nulls: Sequence[NullComparison]) -> str:
    first = nulls[0].summary
    better = max(null.summary.languages_improved for null in nulls)
    beyond = max(
        null.summary.languages_improved_significantly + null.summary.languages_worse_significantly
        for null in nulls
    )
    most = "" if len(nulls) == 1 else "at most "  # perhaps of another division
    speedups = [null.summary.mean_step_speedup for null in nulls]
    known = [mean for mean in speedups if mean is not None]
    speedup = f", mean step speed-up {known[0]:.2f}" if known else ""
    up_to = "" if len(nulls) == 1 else f" at most, in {len(nulls)} divisions of its runs"
    if known and len(nulls) > 1:
        largest = max(max(mean, 1 / mean) for mean in known)
        speedup = f", mean step speed-up {largest:.2f} or 1/{largest:.2f}"
    over = f", {nulls[0].intervals_over}" if nulls[0].intervals_over else ""
    return (
        f"{nulls[0].name} “better” in {better} of {first.languages} languages ({most}{beyond} "
        f"beyond noise either way{over}){speedup}{up_to}"
    )
