"""What students keep follows from the published evaluations, and of tasks from predictions."""

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
PUBLISHED = ROOT / "docs/results/students"


@pytest.mark.parametrize(("runs", "ids"), [("runs-2048-ids", 2048), ("runs", 8192)])
def test_published_rows_follow_from_published_evaluations(
    runs: str, ids: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import_module("kept").write(tmp_path / "kept.csv", PUBLISHED / runs, 1)
    published = PUBLISHED / f"kept-{ids}-ids.csv"
    assert (tmp_path / "kept.csv").read_text() == published.read_text()


def test_several_seeds_are_compared_by_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    kept, runs = import_module("kept"), tmp_path / "runs"
    for published in (PUBLISHED / "runs-2048-ids").iterdir():
        side = published.name.removesuffix("-0")
        for seed in range(2):
            (runs / f"{side}-{seed}").parent.mkdir(exist_ok=True)
            (runs / f"{side}-{seed}").symlink_to(published)
    one, two = ([row[:7] for row in kept.rows(runs, seeds)] for seeds in (1, 2))
    assert one == two


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
