"""The share of a teacher's score that a student keeps, against its definition."""

from dataclasses import replace

import numpy as np
import pytest
from task_predictions import classified, read

from eval.statistics.standard_error import standard_error
from eval.tasks.metrics import ACCURACIES
from eval.tasks.retained import retained_score
from eval.tasks.scores import mean_contributions

LIKELIHOOD = ACCURACIES[0]


def side(wrong_share, seed, runs=2):
    """Runs that are wrong on some of the same sentences, the same in all languages."""
    found = []
    for run in range(runs):
        one = read(classified(0))
        draw = np.random.default_rng((seed, run)).random(one.identity.size)
        wrong = draw < wrong_share
        right = np.array([answers[0] for answers in one.answers], object)
        label = np.where(wrong, "none", right).astype(object)
        found.append(replace(one, likeliest_label=label))
    return found


def test_the_interval_holds_the_ratios_that_are_within_noise():
    sides = side(0.8, 1), side(0.2, 2), side(0.5, 3)
    found = retained_score(*sides, LIKELIHOOD)
    means = [float(np.mean([accuracy(run) for run in runs])) for runs in sides]
    assert [found.baseline.value, found.teacher.value, found.student.value] == pytest.approx(means)
    kept = (means[2] - means[0]) / (means[1] - means[0])
    assert found.gain_retained == pytest.approx(kept)
    assert found.gain_retained_low < kept < found.gain_retained_high
    baseline, teacher, student = (mean_contributions(runs, LIKELIHOOD) for runs in sides)

    def error(ratio):
        parts = [baseline.times(ratio - 1), teacher.times(-ratio), student.times(1.0)]
        return standard_error(parts)

    t = error(kept).quantile
    for end in (found.gain_retained_low, found.gain_retained_high):
        apart = found.gain_student.value - end * found.gain_teacher.value
        assert abs(apart) == pytest.approx(t * error(end).variance ** 0.5, rel=1e-6)


def accuracy(run) -> float:
    right = [
        label in answers for label, answers in zip(run.likeliest_label, run.answers, strict=True)
    ]
    return 100 * float(np.mean(right))


@pytest.mark.parametrize("wrong_share", [0.9, 0.795])
def test_nothing_is_kept_of_no_gain_or_one_within_noise(wrong_share):
    found = retained_score(side(0.8, 1), side(wrong_share, 2), side(0.2, 3), LIKELIHOOD)
    assert found.gain_student.value > 40
    assert found.gain_retained is found.gain_retained_low is found.gain_retained_high is None
