""" """

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from step_metrics import LANGUAGES, SITES, step_metrics
from stored_runs import use_store
from tensorboardX.proto.event_pb2 import Event

from data.files.paths import Address, names_in, read_bytes
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.training.evaluation import Scored
from pipeline.training.log import metrics, time_account
from pipeline.training.log.metrics import EventFile, MetricsLog, forget_after, speed, summary
from pipeline.training.log.metrics import curves as curves_metrics_line
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking


def curves(directory: Address) -> dict[int, float]:
    """Returns the values in the only file by step, as TensorBoard reads them."""
    (name,) = names_in(directory)
    content, found = read_bytes(directory / name), {}
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        for one in event.summary.value:
            found[event.step] = one.simple_value
        content = content[16 + size :]
    return found


def test_all_curves_that_were_added_are_in_the_store(tmp_path, monkeypatch):
    """Also those of the last evaluation, after which nothing but `publish` follows."""
    use_store(tmp_path, monkeypatch)
    directory = Address("store://bucket/run/tensorboard")
    file = EventFile(directory, 1)
    file.add_scalar("training/loss_nats", 4.0, 10)
    file.flush()
    file.add_scalar("held-out/loss_nats", 3.5, 12)
    file.publish()
    file.close()
    assert curves(directory) == {10: 4.0, 12: 3.5}


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
    assert list(curves_metrics_line(line, sparse=False)) == ["loss_nats"]
    assert list(curves_metrics_line(line, sparse=True)) == ["loss_nats", "balance_loss"]


def test_the_speed_of_a_step_by_hand(monkeypatch):
    recipe = dataclasses.replace(named.get("t5-base"), rows=100)
    expected = {"seconds": 0.5, "tokens_per_second": 100 * (512 + 114) / 0.5}
    assert speed(recipe, 0.5) == expected  # a CPU's peak is unknown
    monkeypatch.setattr(metrics, "peak_flops", lambda kind: {"cpu": 1e13}[kind])
    flops = 100 * 3 * 141_981_401_088  # rows, forward and backward, of a sequence of T5-Base
    expected["model_flops_utilization"] = pytest.approx(flops / 0.5 / (8 * 1e13))  # 8 devices
    assert speed(recipe, 0.5) == expected
    assert speed(recipe, 0.0) == {}


def metrics_log(tmp_path, first=0, log_every=2):
    settings = [f"log_every={log_every}", "steps=100", "checkpoint_every=100"]
    return MetricsLog(
        override(named.get("switch-demo"), settings),
        tmp_path,
        first,
        account=TimeAccount(),
        console=Console(quiet=True),
        sites=SITES,
        languages=LANGUAGES,
        tracking=Tracking((), tmp_path, {}, print),
    )


def run(tmp_path, count, first=0, **settings):
    with metrics_log(tmp_path, first) as log:
        for step in range(first + 1, first + count + 1):
            log.step(step, step_metrics(**settings))


def test_the_first_step_of_a_start_is_shown_before_a_line_is_due(tmp_path, monkeypatch):
    shown = []
    with metrics_log(tmp_path, first=3, log_every=10) as log:
        monkeypatch.setattr(log.view, "show", lambda line, *_: shown.append(line["step"]))
        for step in range(4, 12):
            log.step(step, step_metrics())
    assert shown == [4, 10]
    assert [line["step"] for line in lines(tmp_path)] == [10]


def test_days_that_are_left_are_a_caution_with_the_steps_of_one_day():
    recipe = override(named.get("mt5-demo"), ["steps=1000000"])
    assert metrics.long_run_caution(recipe, 1, 0.1) == ""
    assert metrics.long_run_caution(recipe, 1, 2.7).startswith("31 days are left at the first ")
    assert "--set steps=32000 ends" in metrics.long_run_caution(recipe, 1, 2.7)


def lines(tmp_path, name="metrics.jsonl"):
    return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


def events(path):
    """The records of a TensorBoard file: length, its checksum, an event, its checksum."""
    content, found = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        found.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return found


def test_one_line_per_interval_and_none_twice_after_resuming(tmp_path):
    run(tmp_path, 6)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6]
    run(tmp_path, 4, first=4)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6, 8]


def test_a_line_that_a_kill_cut_short_is_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"st')
    forget_after(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'


def test_tensorboard_has_the_same_numbers(tmp_path):
    run(tmp_path, 4)
    (path,) = (tmp_path / "tensorboard").iterdir()
    values = {
        (event.step, value.tag): value.simple_value
        for event in events(path)
        for value in event.summary.value
    }
    for line in lines(tmp_path):
        assert values[line["step"], "training/loss_nats"] == pytest.approx(line["loss_nats"])


def test_tensorboard_has_held_out_losses_and_no_counters(tmp_path):
    with metrics_log(tmp_path) as log:
        log.step(2, step_metrics())
        log.add_evaluation(2, Scored("loss_nats", 4.0, {"sw": 3.0, "yo": 5.0}))
    (path,) = (tmp_path / "tensorboard").iterdir()
    values = {
        value.tag: value.simple_value for event in events(path) for value in event.summary.value
    }
    assert values["held-out/loss_nats"] == 4.0
    assert values["held-out-by-language/yo"] == 5.0
    assert "training/dropped_share" in values
    assert not {"training/step", "training/steps"} & set(values)


def test_routers_are_looked_at_every_25_steps_whatever_lines_are_written(tmp_path):
    """Two looks decide whether an expert is dead, so none may come soon after another."""
    looks = []
    with metrics_log(tmp_path, log_every=16) as log:
        log.watch.look = lambda step, in_flight: looks.append(step) or []
        for step in range(1, 101):
            log.step(step, step_metrics())
    assert looks == [24, 49, 74, 99]


def test_a_step_takes_as_long_as_it_waits_for_data_too(tmp_path, monkeypatch):
    monkeypatch.setattr(time_account, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    with metrics_log(tmp_path) as log:
        log.account.seconds |= {"waiting_for_data": 3.0, "stepping": 1.0, "evaluating": 9.0}
        for step in (1, 2):
            log.step(step, step_metrics())
    (line,) = lines(tmp_path)
    assert line["seconds"] == (3.0 + 1.0) / 2
