"""The verdict and the sentences of a small report, won, lost and undecided.

Cautions of small reports, in every format.
"""

import dataclasses

import pytest
from small_reports import CODES, FUNNEL, facts, made_of, make, repeated, side

from data.dedup.shared_lines import SharedLines
from data.languages import all_languages
from eval import sides
from eval.report.data import to_json
from eval.report.html import to_html
from eval.report.markdown import escape, to_markdown
from eval.sides import Difference, Points
from eval.verdict import cautions, is_better, sentences, speed_sentence, verdict


def test_sentences_when_it_wins():
    made = make(runs=(2, 2))
    assert is_better(made)
    assert sentences(made) == (
        "Switch is better than mT5. The mean gain is +0.433 "
        "nats per token (95% interval +0.429 to +0.438, over pages and runs). "
        "Switch is better than mT5 in 2 of 3 languages (2 beyond noise) and worse in 1 (1 beyond "
        "noise). It reaches mT5’s final quality in 2 of 3; the mean step speed-up is 1.16 (95% "
        "interval 1.15 to 1.16, over pages and runs)."
    )


@pytest.mark.parametrize(
    "final, ending",
    [
        ((3.5, 3.5, 3.5, 1.0), "final quality in none of 3; the mean step speed-up is 0.71 ("),
        ((2.5, 3.5, 3.5, 1.0), "in 1 of 3; the mean step speed-up is 0.86 ("),
    ],
)
def test_sentences_when_it_loses(final, ending):
    found = sentences(make(final, (2, 2)))
    assert found.startswith("Switch is worse than mT5.")
    assert ending in found
    assert "Switch is better than mT5 in" in found


@pytest.mark.parametrize(
    "final, runs, of, mean",
    [
        (2.5, (1, 1), "per side", "+0.500"),
        (3.5, (1, 1), "per side", "\N{MINUS SIGN}0.500"),
        (3.0, (1, 1), "per side", "+0.000"),
        (2.5, (1, 2), "of mT5", "+0.500"),
        (2.5, (2, 1), "of Switch", "+0.500"),
    ],
)
def test_from_one_seed_it_cannot_be_told_which_stands_before_any_number(final, runs, of, mean):
    made = make((final,) * 4, runs)
    assert verdict(made) == (
        f"Whether Switch is better than mT5 cannot be told from one seed {of}."
    )
    assert f"<h1>{verdict(made)}</h1>" in to_html(made)
    assert sentences(made).startswith(f"{verdict(made)} The mean gain is {mean} nats per token (")
    assert not is_better(made)


@pytest.mark.parametrize(
    "fields, named",
    [("a", "a"), ("ab", "a, b"), ("abc", "a, b and more")],
)
def test_a_verdict_on_runs_that_differ_in_more_names_it(fields, named):
    differences = tuple(Difference(field, ("1",), ("2",)) for field in fields)
    alone, twice = (make(runs=runs, differences=differences) for runs in ((1, 1), (2, 2)))
    assert verdict(alone).endswith(f" from one seed per side, in runs that differ in {named} too.")
    assert verdict(twice) == (
        f"Switch is better than mT5 in these runs, which differ in {named} too."
    )


def test_no_difference_is_no_count_of_languages():
    made = make((3.001, 2.999, 3.001, 1.0), (2, 2))
    assert verdict(made) == "No difference between mT5 and Switch was detected."
    assert "languages and worse in 1, nowhere beyond noise." in sentences(made)


def test_runs_that_disagree_leave_no_verdict():
    """The same pages; two candidate runs, one far better and one far worse."""
    baseline = side("mT5", (3.0,) * 4, 1)
    baseline = repeated(baseline, 2)
    both = [side("Switch", (level,) * 4, 2) for level in (2.5, 3.4)]
    pages = tuple(one.pages[0] for one in both)
    candidate = dataclasses.replace(both[0], seeds=(0, 1), pages=pages)
    made = made_of(baseline, candidate)
    assert made.summary.mean_gain == pytest.approx(0.05, abs=0.01)
    assert verdict(made).startswith("No difference")


UNDECAYED = (
    "The learning rate of mT5 and Switch does not fall to 0 at the end of the run. Losses compare "
    "after a decay: set optimizer.decay_from, or branch decays off a trunk (docs/commands.md)."
)


def test_cautions_stand_in_every_format():
    shared = {
        "sw": SharedLines(lines=80, shared_lines=2, pages=9, pages_sharing=1, examples=("<b>x",)),
        "en": SharedLines(lines=20, shared_lines=0, pages=1, pages_sharing=0, examples=()),
    }
    fields = [sides.Difference(f"field{n}", ("1",), (f"<{n}>",)) for n in range(8)]
    made = make(shared_lines=shared, differences=tuple(fields), funnel=FUNNEL)
    expected = [
        "The runs differ beyond the feed-forward, which was allowed: field0, field1, field2, "
        "field3, field4, field5 and 2 more. What they gain is not sparsity’s alone.",
        UNDECAYED,
        "2 of 100 lines of held-out pages also stand on training pages (2.00%; 1 of 10 pages).",
        "Step speed-ups are interpolated between 2 evaluations; 30 or more make them reliable.",
        "One run of mT5 and of Switch: intervals are over pages only and do not include how "
        "another seed would have fallen.",
        "These are 3 of mC4’s 101 languages; the claim is about all of them.",
    ]
    assert to_json(made)["cautions"] == expected
    assert to_json(made)["differences"][7]["candidate"] == ("<7>",)
    assert to_json(made)["held_out"]["languages"]["sw"]["shared_lines"] == 2
    markdown, page = to_markdown(made), to_html(made)
    for caution in expected:
        assert f"- {escape(caution)}" in markdown
        assert f"<li>{caution}</li>" in page
    assert "Swahili 2." in markdown
    assert r"| field7 | 1 | \<7\> |" in markdown
    assert "&lt;b&gt;x" in page
    assert "<7>" not in page


def test_enough_evaluations_and_runs_leave_no_caution(monkeypatch):
    table = [one for one in all_languages() if one.code in CODES]
    monkeypatch.setattr("eval.gains.all_languages", lambda: table)
    steps = tuple(range(0, 310, 10))
    sides = [
        dataclasses.replace(one, steps=steps, seeds=(0, 1, 2, 3), pages=(run[-1:] * 31,) * 4)
        for one in (side("mT5", (3.0,) * 4, 1), side("Switch", (2.0,) * 4, 2))
        for run in one.pages
    ]
    assert cautions(made_of(*sides, shared_lines={})) == [UNDECAYED]
    ends = dataclasses.replace(sides[0], points=Points.DECAYED)
    made = made_of(ends, dataclasses.replace(sides[1], points=Points.DECAYING), shared_lines={})
    assert made.summary.mean_step_speedup is None  # so how fine its steps are does not count
    assert cautions(made) == []
    assert 'class="cautions"' not in to_html(made)


def test_a_decaying_schedule_is_cautioned_and_decayed_runs_are_not():
    finals = ((3.0,) * 4, 1), ((2.0,) * 4, 2)
    for points, cautioned in ((Points.DECAYING, True), (Points.DECAYED, False)):
        sides = [
            side(name, *final, points)
            for name, final in zip(("mT5", "Switch"), finals, strict=True)
        ]
        found = cautions(made_of(*sides))
        assert any(one.startswith("The learning rate falls to 0") for one in found) is cautioned
        assert any("2 evaluations" in one for one in found) is cautioned


def test_what_two_lengths_cannot_measure_is_cautioned():
    ends = side("mT5", (3.0,) * 4, 1), side("Switch", (0.5,) * 4, 2)
    falls, stays = (
        tuple(run[-2:] for run in ends[0].pages),
        tuple(run[-1:] * 2 for run in ends[1].pages),  # below all of mT5's
    )
    sides = [
        dataclasses.replace(one, steps=(3968, 7936), pages=pages, points=Points.DECAYED)
        for one, pages in zip(ends, (falls, stays), strict=True)
    ]
    made = made_of(*sides)
    (found,) = [one for one in cautions(made) if "2 lengths" in one]
    assert "Beyond 2 or 1/2 they are extrapolated, and none beyond 4 can be measured." in found
    bounds = made.summary.languages_speedup_is_bound
    assert bounds
    assert f"In {bounds} languages it is a bound only" in found
    ends = "95% interval at least 4.00, over pages only"
    assert f"({ends}; a bound in {bounds} languages)" in speed_sentence(made)


def test_disturbed_step_times_and_a_demonstration_are_cautioned():
    made = make()
    slow = facts("Switch", step_seconds_spread=1.62, recipe="switch-demo")
    groups = made.groups[0], dataclasses.replace(made.groups[1], facts=slow)
    made = dataclasses.replace(made, groups=groups)
    found = cautions(made)
    assert found[0].startswith("This is a demonstration: tiny|er and switch-demo are tiny networks")
    assert found[-1].startswith("Step times changed within the runs of Switch (by 1.6 times)")
    assert '<strong class="badge">Demonstration</strong>' in to_html(made)
    assert not any("Step times" in one or "demonstration" in one for one in cautions(make()))


def test_few_runs_other_seeds_and_unchecked_lines_are_cautioned():
    two = [repeated(side("mT5", (3.0,) * 4, 1), 2), repeated(side("Switch", (2.0,) * 4, 2), 2)]
    others = dataclasses.replace(two[1], seeds=(2, 1))
    found = cautions(made_of(two[0], others))
    assert found[1] == (
        "The sides have other seeds (0, 1 of mT5; 1, 2 of Switch), so they did not read the same "
        "examples in the same order."
    )
    assert found[2].endswith("stand on training pages, too: no corpus was named.")
    assert found[4].startswith("2 runs per side show little of other seeds")
    huge = made_of(*two, funnel=FUNNEL)
    assert cautions(huge)[1].endswith("too: the corpus is too large.")
