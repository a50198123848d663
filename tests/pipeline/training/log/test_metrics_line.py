import dataclasses

import numpy as np
import pytest
from step_metrics import step_metrics

from pipeline.recipe import named
from pipeline.training.log import metrics_line
from pipeline.training.log.metrics_line import curves, speed, summary


def test_losses_are_summed_before_they_are_divided():
    line = summary([step_metrics(loss=10.0, tokens=5), step_metrics(loss=2.0, tokens=1)])
    assert line["loss_nats"] == pytest.approx(2.0)
    assert line["dropped_share"] == pytest.approx(0.25)
    assert line["skipped"] == 0
    assert (line["worst_layer"], line["worst_layer_load"]) == (1, 2.0)


def test_the_tokens_of_a_line_may_be_more_than_an_int32_counts():
    """10,000 steps of mT5's batch: 1,024 rows of 229 targets."""
    tokens = 1024 * 229
    step = step_metrics(loss=3.0 * tokens, tokens=tokens)
    losses = step.losses._replace(
        target_tokens=np.int32(tokens),
        loss_nats=np.float32(3.0 * tokens),
        soft_loss_nats=np.float32(6.0 * tokens),
    )
    line = summary([step._replace(losses=losses)] * 10_000)
    assert line["loss_nats"] == pytest.approx(3.0)
    assert line["soft_loss_nats"] == pytest.approx(6.0)


def test_skipped_steps_are_counted_and_left_out():
    line = summary([step_metrics(), step_metrics(loss=np.nan, skipped=True)])
    assert line["skipped"] == 1
    assert line["loss_nats"] == pytest.approx(2.0)


def test_a_dense_network_has_no_curves_of_routing_and_counters_have_none():
    line = {"step": 2, "loss_nats": 1.0, "balance_loss": 0.0}
    assert list(curves(line, sparse=False)) == ["loss_nats"]
    assert list(curves(line, sparse=True)) == ["loss_nats", "balance_loss"]


def test_the_speed_of_a_step_by_hand(monkeypatch):
    recipe = dataclasses.replace(named.get("t5-base"), rows=100)
    expected = {"seconds": 0.5, "tokens_per_second": 100 * (512 + 114) / 0.5}
    assert speed(recipe, 0.5) == expected  # a CPU's peak is unknown
    monkeypatch.setattr(metrics_line, "peak_flops", lambda kind: {"cpu": 1e13}[kind])
    flops = 100 * 3 * 141_981_401_088  # rows, forward and backward, of a sequence of T5-Base
    expected["model_flops_utilization"] = pytest.approx(flops / 0.5 / (8 * 1e13))  # 8 devices
    assert speed(recipe, 0.5) == expected
    assert speed(recipe, 0.0) == {}
