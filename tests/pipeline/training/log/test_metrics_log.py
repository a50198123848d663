import json
from types import SimpleNamespace

import pytest
from rich.console import Console
from step_metrics import LANGUAGES, SITES, step_metrics
from tensorboardX.proto.event_pb2 import Event

from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.training.evaluation.evaluator import Scored
from pipeline.training.log import time_account
from pipeline.training.log.metrics_log import MetricsLog, forget_after
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking


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
        log.scored(2, Scored("loss_nats", 4.0, {"sw": 3.0, "yo": 5.0}))
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
