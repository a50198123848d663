import json

import numpy as np
import pytest
from rich.console import Console

from model.loss import Losses
from model.train_step import StepMetrics
from pipeline import recipes
from pipeline.artifacts import ArtifactError
from pipeline.progress import MOST_SKIPPED, Progress, summary


def metrics(loss=10.0, tokens=5, skipped=False):
    losses = Losses(*(np.float32(value) for value in (loss, tokens, 0.1, 1.0, 0.25, 0.5)))
    return StepMetrics(losses, np.float32(2.0), np.float32(0.01), np.bool_(skipped))


def run(tmp_path, count, first=0, **settings):
    recipe = recipes.override(recipes.get("switch-demo"), ["log_every=2", "steps=100"])
    with Progress(recipe, tmp_path, first, Console(quiet=True)) as progress:
        for step in range(first + 1, first + count + 1):
            progress.step(step, metrics(**settings))


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_losses_are_summed_before_they_are_divided():
    line = summary([metrics(loss=10.0, tokens=5), metrics(loss=2.0, tokens=1)])
    assert line["loss_nats"] == pytest.approx(2.0)
    assert line["dropped_share"] == pytest.approx(0.25)
    assert line["skipped"] == 0


def test_skipped_steps_are_counted_and_left_out():
    line = summary([metrics(), metrics(loss=np.nan, skipped=True)])
    assert line["skipped"] == 1
    assert line["loss_nats"] == pytest.approx(2.0)


def test_a_line_every_so_many_steps_and_none_twice_after_resuming(tmp_path):
    run(tmp_path, 6)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6]
    run(tmp_path, 4, first=4)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6, 8]
    assert all("seconds" in line for line in lines(tmp_path))


def test_a_broken_run_stops_with_its_reason(tmp_path):
    with pytest.raises(ArtifactError, match=f"skipped its last {MOST_SKIPPED} updates"):
        run(tmp_path, 20, loss=np.nan, skipped=True)
