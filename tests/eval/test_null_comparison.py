"""The null comparison: halves of one side's runs, compared as sides are."""

import dataclasses

import pytest
from small_reports import compare, side

from eval import null_comparison
from eval.losses import Unit
from eval.null_comparison import divisions, null_comparisons


@pytest.mark.parametrize(("runs", "count"), [(1, 0), (2, 1), (3, 3), (4, 3), (5, 10), (6, 10)])
def test_each_division_is_made_once(runs, count):
    found = list(divisions(runs))
    assert len({frozenset(halves) for halves in found}) == len(found) == count
    for one, other in found:
        assert sorted(one + other) == list(range(runs))
        assert len(other) - len(one) == runs % 2


@pytest.mark.parametrize("runs", [7, 8])
def test_of_many_divisions_those_are_made_that_mix_the_runs(runs):
    found = list(divisions(runs))
    assert len({frozenset(halves) for halves in found}) == len(found) == 10
    together = [any({0, 1} <= set(half) for half in halves) for halves in found]
    assert 2 < sum(together) < 8  # of the first ten all, or none


def of_levels(*levels):
    """Returns a side whose runs have these losses, with seeds from 7 on."""
    runs = [side("mT5", (level,) * 4, 0).pages[0] for level in levels]
    seeds = tuple(range(7, 7 + len(runs)))
    return dataclasses.replace(side("mT5", (3.0,) * 4, 0), seeds=seeds, pages=tuple(runs))


def test_the_better_half_is_the_candidate():
    (found,) = null_comparisons(of_levels(3.0, 3.2), Unit.NATS_PER_TOKEN)
    assert (found.candidate.seeds, found.baseline.seeds) == ((7,), (8,))
    assert found.summary.languages_improved == 3
    assert found.summary.mean_step_speedup > 1
    assert null_comparison.sentence([found]).startswith(
        "The same comparison between seeds of one side: mT5 “better” in 3 of 3 languages "
        f"({found.tally.better_significantly} beyond noise either way, over pages only)"
    )


def test_the_division_with_most_languages_is_found():
    found = null_comparisons(of_levels(3.0, 3.2, 3.4), Unit.NATS_PER_TOKEN)
    assert null_comparison.intervals_over(found[0]) == "over pages and the runs of one half"
    means = [one.summary.mean_step_speedup for one in found]
    largest = max(max(mean, 1 / mean) for mean in means)
    beyond = max(one.tally.better_significantly for one in found)
    assert null_comparison.sentence(found) == (
        "The same comparison between seeds of one side: mT5 “better” in 3 of 3 languages (at most "
        f"{beyond} beyond noise either way, over pages and the runs of one half), mean step "
        f"speed-up {largest:.2f} or 1/{largest:.2f} at most, in 3 divisions of its runs."
    )
    won, lost = found[0], compare(*found[0].sides[::-1])
    assert null_comparison.with_most_languages([lost, won]) is won
    assert null_comparison.with_most_languages([won, lost]) is won


def test_a_single_run_has_no_null():
    assert null_comparison.with_most_languages(()) is None
    assert null_comparisons(of_levels(3.0), Unit.NATS_PER_TOKEN) == ()
    assert null_comparison.sentence([]) == ""
