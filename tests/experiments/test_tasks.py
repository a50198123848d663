"""What students keep of a gain in a task's scores follows from predictions."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from task_predictions import classified, read

from eval.tasks.metrics import ACCURACIES
from eval.tasks.predictions import Predictions

ROOT = Path(__file__).parents[2]


def runs_of(wrong_share: float, seed: int) -> list[Predictions]:
    """Returns two runs that are wrong on the same sentences of every language."""
    run = read(classified(0))
    right = np.array([answers[0] for answers in run.answers], object)
    draws = (np.random.default_rng((seed, n)).random(right.size) for n in range(2))
    return [replace(run, likeliest_label=np.where(d < wrong_share, "", right)) for d in draws]


@pytest.mark.parametrize(
    ("teacher", "student", "share"),
    [
        (0.2, 0.5, r"\d\d% \(\d\d% to \d\d%\)"),
        (0.9, 0.2, "–"),  # no gain
        (0.795, 0.2, "–"),  # one within noise
    ],
)
def test_a_share_of_a_tasks_gain_is_kept_where_the_gain_is_beyond_noise(
    teacher: float, student: float, share: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    sides = runs_of(0.8, 1), runs_of(teacher, 2), runs_of(student, 3)
    *_, of_teacher, of_student, kept = import_module("tasks").cells(*sides, ACCURACIES[0])
    assert re.fullmatch(share, kept)
    if kept != "–":
        gained, of_gain = (float(cell.split()[0]) for cell in (of_student, of_teacher))
        assert float(kept.split("%")[0]) == pytest.approx(100 * gained / of_gain, abs=0.6)
