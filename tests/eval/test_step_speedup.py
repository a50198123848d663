"""Step speed-ups of short curves, against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.step_speedup import StepSpeedup, step_speedup, summarise, time_speedup

STEPS = np.array([0, 100, 200, 300, 400])


def speedup(candidate, baseline=(9.0, 5.0, 4.0, 3.5, 3.0), steps=STEPS):
    return step_speedup(STEPS, np.array(baseline), steps, np.array(candidate))


def slow_speedup(baseline_steps, baseline, steps, losses):
    """Returns the speed-up by the definition, one evaluation at a time."""
    target = baseline[-1]
    for at in range(len(losses)):
        if losses[at] <= target:
            if at == 0:
                return baseline_steps[-1] / next(step for step in steps if step > 0)
            share = (losses[at - 1] - target) / (losses[at - 1] - losses[at])
            reached = steps[at - 1] + share * (steps[at] - steps[at - 1])
            return baseline_steps[-1] / reached
    return None


def test_interpolates_between_evaluations():
    found = speedup([9.0, 4.0, 2.0, 2.0, 2.0])
    assert found.steps == pytest.approx(150)
    assert found.first == found.lasting == pytest.approx(400 / 150)


def test_same_curve_is_exactly_one():
    assert speedup([9.0, 5.0, 4.0, 3.5, 3.0]).first == 1.0


def test_not_reached_is_none_with_its_bound():
    found = speedup([9.0, 5.0, 4.0], steps=STEPS[:3])
    assert (found.first, found.lasting, found.bound) == (None, None, 2.0)


def test_a_dip_counts_as_first_but_not_as_lasting():
    dip = speedup([9.0, 3.0, 3.4, 3.2, 3.1])
    assert dip.first == pytest.approx(4.0)
    assert dip.lasting is None
    later = speedup([9.0, 3.0, 4.0, 2.0, 2.0])
    assert later.first == pytest.approx(4.0)
    assert later.lasting == pytest.approx(400 / 250)


def test_reached_before_training_counts_at_the_first_step_trained():
    assert speedup([2.0] * 5).first == pytest.approx(4.0)


losses = st.lists(st.floats(0.5, 9.0), min_size=5, max_size=5)


@given(losses, losses)
def test_agrees_with_the_plain_definition(baseline, candidate):
    found = speedup(candidate, baseline)
    slow = slow_speedup(STEPS, baseline, STEPS, candidate)
    assert found.first == (None if slow is None else pytest.approx(slow))
    assert (found.lasting is None) == (candidate[-1] > baseline[-1])
    if found.lasting is not None:
        assert found.bound <= found.lasting <= found.first * (1 + 1e-9)


def entry(first, bound=1.0):
    return StepSpeedup(first, first, bound, None)


def test_summary_counts_the_not_reached():
    summary = summarise([entry(5.0), entry(2.0), entry(None), entry(4.0)])
    assert summary.not_reached == 1
    assert summary.median == pytest.approx(3.0)
    assert not summary.median_is_bound
    assert summary.mean == pytest.approx(12 / 4)
    assert summary.mean_reached == pytest.approx(11 / 3)
    assert summary.share_at_least_4 == pytest.approx(0.5)


def test_a_median_that_is_not_reached_is_marked_as_a_bound():
    summary = summarise([entry(None), entry(None), entry(2.0)])
    assert (summary.median, summary.median_is_bound) == (1.0, True)
    nothing = summarise([entry(None)])
    assert nothing.mean_reached is None
    assert nothing.median_is_bound


def test_time_speedup():
    assert time_speedup(2.0, 0.3, 0.4) == pytest.approx(1.5)
    assert time_speedup(2.0, None, 0.4) is None
