"""Gain kept by students, against the paper's definition and Fieller's set point by point."""

import dataclasses

import numpy as np
import pytest

from eval import distillation
from eval.compare import ratios
from eval.statistics import retained_set, standard_error

PAGES = 60


def scored(amounts, tokens):
    zeros = np.zeros(tokens.size, int)
    return ratios(("all",), zeros, amounts, tokens, tokens > 0)


def kept(*sides):
    return distillation.retained_gain([scored(*side) for side in sides], "all")


def scores(level, seed, runs=1, spread=0.05):
    """Returns losses of `level` nats per token and the tokens; all sides share hard pages."""
    same, own = np.random.default_rng(0), np.random.default_rng(seed)
    tokens = same.integers(50, 150, PAGES)
    hard = same.normal(0, 0.5, PAGES)
    hard -= (hard * tokens).sum() / tokens.sum()
    noise = own.normal(0, spread, (runs, PAGES))
    noise -= (noise * tokens).sum(axis=1, keepdims=True) / tokens.sum()
    return (level + hard + noise) * tokens, tokens


def test_the_papers_table_6():
    """T5-Base −1.636, Switch-Base −1.444, the student −1.580: 29 % of the gain."""
    found = kept(scores(1.636, 1), scores(1.444, 2), scores(1.580, 3))
    assert found.gain_retained == pytest.approx(0.29, abs=0.005)
    assert found.gain_nats_teacher == pytest.approx(0.192)
    assert found.gain_retained_low < 0.29 < found.gain_retained_high


@pytest.mark.parametrize("runs", [1, 3])
def test_the_interval_holds_the_ratios_that_are_within_noise(runs):
    """By definition: baseline - student - ratio x (baseline - teacher) is near 0."""
    sides = [scores(3.0, 1, runs), scores(2.6, 2, runs), scores(2.8, 3, runs)]
    found = kept(*sides)
    baseline, teacher, student = (scored(*side).contributions for side in sides)

    def error(ratio):
        parts = [baseline.times(1 - ratio), teacher.times(ratio), student.times(-1.0)]
        return standard_error(parts)

    t = error(found.gain_retained).quantile
    for end in (found.gain_retained_low, found.gain_retained_high):
        apart = found.gain_nats_student - end * found.gain_nats_teacher
        assert abs(apart) == pytest.approx(t * error(end).variance ** 0.5, rel=1e-6)
    assert found.gain_retained_low < found.gain_retained < found.gain_retained_high


def apart(one, levels):
    """Returns the scores of runs that differ by these levels."""
    amounts, tokens = one
    return amounts + np.array(levels)[:, None] * tokens, tokens


def student_of(overall):
    return distillation.Student(
        name="student",
        seeds=(0, 1),
        steps=1,
        parameters=None,
        compression=None,
        overall=overall,
        median_over_languages=None,
        languages={},
    )


def test_a_teachers_clear_gain_is_not_called_noise_where_the_students_runs_differ():
    baseline = apart(scores(3.0, 1, 4), (0.01, -0.01, 0.01, -0.01))
    teacher, level = (
        apart(scores(loss, 2, 4), (0.01, -0.01, 0.01, -0.01)) for loss in (2.95, 2.999)
    )
    student = apart(scores(2.98, 3, 2), (0.3, -0.3))
    cases = (
        ([baseline, teacher, student], "student: the runs of a side are too few or"),
        (
            [baseline, level, student],
            "student: the interval of Switch’s gain over all",
        ),
    )
    for sides, begins in cases:
        found = kept(*sides)
        assert found.gain_retained is None
        assert distillation.sentence(student_of(found), "Switch").startswith(begins)


def test_a_set_that_is_unbounded_says_so_and_still_holds_the_ratio():
    sides = [scores(3.0, 1), scores(2.999, 2), scores(2.9985, 3)]
    baseline, teacher, student = (float(scored(*side).values[0]) for side in sides)
    contributions = [scored(*side).contributions for side in sides]
    found = retained_set(contributions, baseline - student, baseline - teacher)
    assert found.bounds is None
    assert found.holds((baseline - student) / (baseline - teacher))


def test_nothing_is_kept_of_a_gain_within_noise():
    found = kept(scores(3.0, 1), scores(2.999, 2), scores(2.0, 3))
    assert found.gain_nats_student == pytest.approx(1.0)
    assert found.gain_retained is found.gain_retained_low is None
    worse = kept(scores(3.0, 1), scores(3.5, 2), scores(2.0, 3))
    assert worse.gain_retained is None


def test_a_gain_within_noise_is_not_kept_where_other_runs_make_the_set_bounded():
    """Degrees of freedom of the ratio are those of a baseline of many runs; the gain's are few."""
    teacher = apart(scores(2.9, 2, runs=2), (0.03, -0.03))
    sides = [scores(3.0, 1, runs=4), teacher, scores(2.99, 3)]
    baseline, with_experts, student = (float(scored(*side).values[0]) for side in sides)
    contributions = [scored(*side).contributions for side in sides]
    bounded = retained_set(contributions, baseline - student, baseline - with_experts).bounds
    found = kept(*sides)
    assert bounded is not None
    assert not found.gain_is_clear
    assert found.gain_retained is found.gain_retained_low is None
    assert distillation.why_none(found) == "gain may be 0"
    worse = kept(sides[1], sides[0], sides[2])
    assert distillation.why_none(worse) == "no gain"


def test_a_page_without_a_scored_token_changes_nothing():
    sides = [scores(3.0, 1), scores(2.6, 2), scores(2.8, 3)]
    longer = [(np.insert(nats, 5, 0, 1), np.insert(tokens, 5, 0)) for nats, tokens in sides]
    found, wanted = (dataclasses.asdict(kept(*each)) for each in (longer, sides))
    assert found == pytest.approx(wanted)
    two = [(np.array([[level, 0.0]]), np.array([1, 0])) for level in (3.0, 2.0, 2.5)]
    assert kept(*two).gain_retained is None  # one page has no interval


def test_the_sentence_counts_languages_as_the_median_does():
    """Script variants are listed beside the languages, as everywhere in a report."""
    share = kept(scores(3.0, 1), scores(2.6, 2), scores(2.8, 3))
    student = distillation.Student(
        name="small", seeds=(0,), steps=10, parameters=None, compression=None, overall=share,
        median_over_languages=0.5, languages={"ru": share, "ru-Latn": share, "sw": share},
    )  # fmt: skip
    found = distillation.sentence(student, "Switch")
    assert found.endswith("a share is given: 2, script variants beside them: 1).")
    without = dataclasses.replace(student, languages={"ru": share})
    assert distillation.sentence(without, "Switch").endswith("a share is given: 1).")


def test_a_teacher_that_gains_nothing_is_not_called_noise():
    share = kept(scores(2.6, 1), scores(3.0, 2), scores(2.8, 3))
    student = distillation.Student(
        name="small", seeds=(0,), steps=10, parameters=None, compression=None, overall=share,
        median_over_languages=None, languages={"ru": share},
    )  # fmt: skip
    found = distillation.sentence(student, "Switch")
    assert found.startswith("small: Switch gains nothing over all pages (-0.400 nats), so there is")


def test_runs_widen_the_interval_where_a_side_has_several():
    amounts, tokens = scores(2.6, 2, runs=2)
    teacher = amounts + np.array([[-2.0], [2.0]]), tokens
    several = kept(scores(3.0, 1), teacher, scores(2.8, 3))
    one = kept(scores(3.0, 1), scores(2.6, 2), scores(2.8, 3))
    assert several.gain_retained == pytest.approx(one.gain_retained)
    width = several.gain_retained_high - several.gain_retained_low
    assert width > 2 * (one.gain_retained_high - one.gain_retained_low)
