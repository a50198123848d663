"""The verdict and the sentences of a small report, won, lost and undecided."""

import dataclasses

import pytest
from small_reports import made_of, make, side

from eval.run_facts import Difference
from eval.verdict import sentences, verdict


def test_sentences_when_it_wins():
    assert sentences(make()) == (
        "Switch is better than mT5 in these runs; other seeds may differ. The mean gain is +0.433 "
        "nats per token (95% interval +0.429 to +0.438, over pages only). "
        "Switch is better than mT5 in 2 of 3 languages (2 beyond noise) and worse in 1 (1 beyond "
        "noise). It reaches mT5’s final quality in 2 of 3; the mean step speed-up is 1.16 (95% "
        "interval 1.15 to 1.16, over pages only)."
    )


@pytest.mark.parametrize(
    "final, ending",
    [
        ((3.5, 3.5, 3.5, 1.0), "final quality in none of 3; the mean step speed-up is 0.71 ("),
        ((2.5, 3.5, 3.5, 1.0), "in 1 of 3; the mean step speed-up is 0.86 ("),
    ],
)
def test_sentences_when_it_loses(final, ending):
    found = sentences(make(final))
    assert found.startswith("Switch is worse than mT5 in these runs; other seeds may differ.")
    assert ending in found
    assert "Switch is better than mT5 in" in found


@pytest.mark.parametrize(
    "fields, named",
    [("a", "a"), ("ab", "a, b"), ("abc", "a, b and more")],
)
def test_a_verdict_on_runs_that_differ_in_more_names_it(fields, named):
    differences = tuple(Difference(field, ("1",), ("2",)) for field in fields)
    found = verdict(make(differences=differences))
    assert found == (
        f"Switch is better than mT5 in these runs, which differ in {named} too; other seeds may "
        "differ."
    )


def test_no_difference_is_no_count_of_languages():
    made = make((3.001, 2.999, 3.001, 1.0))
    assert verdict(made) == "No difference between mT5 and Switch was detected."
    assert "languages and worse in 1, nowhere beyond noise." in sentences(made)


def test_runs_that_disagree_leave_no_verdict():
    """The same pages; two candidate runs, one far better and one far worse."""
    baseline = side("mT5", (3.0,) * 4, 1)
    both = [side("Switch", (level,) * 4, 2) for level in (2.5, 3.4)]
    candidate = dataclasses.replace(both[0], pages=tuple(one.pages[0] for one in both))
    made = made_of(baseline, candidate)
    assert made.summary.mean_gain == pytest.approx(0.05, abs=0.01)
    assert verdict(made).startswith("No difference")
