"""The null comparison: one architecture against itself, with other seeds.

A result matters only where it exceeds the differences that seeds alone cause. So the runs of each
side that has two or more are divided into two halves, and the halves are compared as the sides are.
The half that is better in more languages takes the role of the candidate. A half has fewer runs
than its side, so its noise tends to be greater than that of the result.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

from eval.gains import Comparison
from eval.losses import Unit
from eval.sides import Side

MOST_DIVISIONS = 10  # all of five runs


def null_comparisons(side: Side, unit: Unit) -> tuple[Comparison, ...]:
    """Returns the comparisons of the halves of a side's runs; () for a single run.

    Args:
        side: a side.
        unit: unit of the gains: that of the report, which has bits per byte where the sides have
            different vocabularies. Halves of one side have one vocabulary.
    """
    return tuple(_null(side, unit, *halves) for halves in divisions(len(side.runs)))


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


def _null(side: Side, unit: Unit, first: tuple[int, ...], second: tuple[int, ...]) -> Comparison:
    halves = side.only(first), side.only(second)
    null = Comparison(baseline=halves[0], candidate=halves[1], unit=unit)
    if null.tally.better < null.tally.worse:
        return Comparison(baseline=halves[1], candidate=halves[0], unit=unit)
    return null


def intervals_over(null: Comparison) -> str:
    """Returns what intervals are over where a half has one run, unlike the result's; else empty."""
    single = len(null.of_single_runs)
    return ("", "over pages and the runs of one half", "over pages only")[single]


def with_most_languages(nulls: Sequence[Comparison]) -> Comparison | None:
    """Returns the division in which most languages are better, of either side; None without one."""
    return max(nulls, key=lambda null: null.tally.better, default=None)


def sentence(nulls: Sequence[Comparison]) -> str:
    """Returns a sentence on the gain between seeds, over all divisions; empty without one."""
    sides = itertools.groupby(nulls, lambda null: null.baseline.name)
    parts = [_side_in_words(list(of_side)) for _, of_side in sides]
    return f"The same comparison between seeds of one side: {'; '.join(parts)}." if parts else ""


def _side_in_words(nulls: Sequence[Comparison]) -> str:
    tallies = [null.tally for null in nulls]
    better = max(tally.better for tally in tallies)
    beyond = max(tally.better_significantly + tally.worse_significantly for tally in tallies)
    most = "" if len(nulls) == 1 else "at most "  # perhaps of another division
    speedups = [null.summary.mean_step_speedup for null in nulls]
    known = [mean for mean in speedups if mean is not None]
    speedup = f", mean step speed-up {known[0]:.2f}" if known else ""
    up_to = "" if len(nulls) == 1 else f" at most, in {len(nulls)} divisions of its runs"
    if known and len(nulls) > 1:
        largest = max(max(mean, 1 / mean) for mean in known)
        speedup = f", mean step speed-up {largest:.2f} or 1/{largest:.2f}"
    over = f", {among}" if (among := intervals_over(nulls[0])) else ""
    return (
        f"{nulls[0].baseline.name} “better” in {better} of {tallies[0].languages} languages "
        f"({most}{beyond} beyond noise either way{over}){speedup}{up_to}"
    )
