"""Lines of steps, their curves, and what is forgotten at a resume; seconds of each activity."""

import json
from dataclasses import replace
from datetime import datetime
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
from pipeline.training.log.metrics import (
    EventFile,
    MetricsLog,
    curves,
    forget_after,
    long_run_caution,
    speed,
    summary,
)
from pipeline.training.log.time_account import TimeAccount, describe, record
from pipeline.training.log.tracking import Tracking


def events(directory):
    """The values in the only file by tag and step, as TensorBoard reads them.

    A record is its length, a checksum of it, an event, and its checksum.
    """
    (name,) = names_in(directory)
    content, found = read_bytes(directory / name), {}
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
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
    expected = {("training/loss_nats", 10): 4.0, ("held-out/loss_nats", 12): 3.5}
    assert events(directory) == expected


def test_losses_are_summed_before_they_are_divided_and_skipped_steps_left_out():
    steps = [step_metrics(loss=10.0, tokens=5), step_metrics(loss=2.0, tokens=1)]
    line = summary([*steps, step_metrics(loss=np.nan, skipped=True)])
    assert line["loss_nats"] == pytest.approx(2.0)
    assert line["dropped_share"] == pytest.approx(0.25)
    assert line["skipped"] == 1
    assert (line["worst_layer"], line["worst_layer_load"]) == (1, 2.0)


def test_the_tokens_of_a_line_may_be_more_than_an_int32_counts():
    """10,000 steps of mT5's batch: 1,024 rows of 229 targets."""
    tokens = 1024 * 229
    step = step_metrics()
    nats = {"loss_nats": np.float32(3.0 * tokens), "soft_loss_nats": np.float32(6.0 * tokens)}
    losses = step.losses._replace(target_tokens=np.int32(tokens), **nats)
    line = summary([step._replace(losses=losses)] * 10_000)
    assert line["loss_nats"] == pytest.approx(3.0)
    assert line["soft_loss_nats"] == pytest.approx(6.0)


def test_a_dense_network_has_no_curves_of_routing_and_counters_have_none():
    line = {"step": 2, "loss_nats": 1.0, "balance_loss": 0.0}
    assert list(curves(line, sparse=False)) == ["loss_nats"]
    assert list(curves(line, sparse=True)) == ["loss_nats", "balance_loss"]


def test_the_speed_of_a_step_by_hand(monkeypatch):
    recipe = replace(named.get("t5-base"), rows=100)
    expected = {"seconds": 0.5, "tokens_per_second": 100 * (512 + 114) / 0.5}
    assert speed(recipe, 0.5) == expected  # a CPU's peak is unknown
    monkeypatch.setattr(metrics, "peak_flops", lambda kind: {"cpu": 1e13}[kind])
    flops = 100 * 3 * 141_981_401_088  # rows, forward and backward, of a sequence of T5-Base
    expected["model_flops_utilization"] = pytest.approx(flops / 0.5 / (8 * 1e13))  # 8 devices
    assert speed(recipe, 0.5) == expected
    assert speed(recipe, 0.0) == {}


@pytest.fixture
def log_of(tmp_path):
    """A function that begins the log of a start after a step."""

    def begin(first=0, log_every=2):
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

    return begin


def make_steps(log, first, last):
    for step in range(first, last + 1):
        log.step(step, step_metrics())


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_the_first_step_of_a_start_is_shown_before_a_line_is_due(log_of, tmp_path, monkeypatch):
    shown = []
    with log_of(first=3, log_every=10) as log:
        monkeypatch.setattr(log.view, "show", lambda line, *_: shown.append(line["step"]))
        make_steps(log, 4, 11)
    assert shown == [4, 10]
    assert [line["step"] for line in lines(tmp_path)] == [10]


def test_days_that_are_left_are_a_caution_with_the_steps_of_one_day():
    recipe = override(named.get("mt5-demo"), ["steps=1000000"])
    assert long_run_caution(recipe, 1, 0.1) == ""
    assert long_run_caution(recipe, 1, 2.7).startswith("31 days are left at the first ")
    assert "--set steps=32000 ends" in long_run_caution(recipe, 1, 2.7)


def test_one_line_per_interval_and_none_twice_after_resuming(log_of, tmp_path):
    for first, last, expected in ((0, 6, [2, 4, 6]), (4, 8, [2, 4, 6, 8])):
        with log_of(first) as log:
            make_steps(log, first + 1, last)
        assert [line["step"] for line in lines(tmp_path)] == expected


def test_a_line_that_a_kill_cut_short_is_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"st')
    forget_after(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'


def test_tensorboard_has_the_same_numbers_and_held_out_losses_and_no_counters(log_of, tmp_path):
    with log_of() as log:
        make_steps(log, 1, 4)
        log.add_evaluation(4, Scored("loss_nats", 4.0, {"sw": 3.0, "yo": 5.0}))
    found = events(tmp_path / "tensorboard")
    for line in lines(tmp_path):
        assert found["training/loss_nats", line["step"]] == pytest.approx(line["loss_nats"])
    assert found["held-out/loss_nats", 4] == 4.0
    assert found["held-out-by-language/yo", 4] == 5.0
    tags = {tag for tag, _ in found}
    assert "training/dropped_share" in tags
    assert not {"training/step", "training/steps"} & tags


def test_routers_are_looked_at_every_25_steps_whatever_lines_are_written(log_of):
    """Two looks decide whether an expert is dead, so none may come soon after another."""
    looks = []
    with log_of(log_every=16) as log:
        log.watch.look = lambda step, in_flight: looks.append(step) or []
        make_steps(log, 1, 100)
    assert looks == [24, 49, 74, 99]


def test_a_step_takes_as_long_as_it_waits_for_data_too(log_of, tmp_path, monkeypatch):
    monkeypatch.setattr(time_account, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    with log_of() as log:
        log.account.seconds |= {"waiting_for_data": 3.0, "stepping": 1.0, "evaluating": 9.0}
        make_steps(log, 1, 2)
    (line,) = lines(tmp_path)
    assert line["seconds"] == (3.0 + 1.0) / 2


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test advances."""
    now = [0.0]
    monkeypatch.setattr(time_account.time, "perf_counter", lambda: now[0])
    return now


def test_every_second_is_booked_once_also_when_an_error_ends_the_activity(clock):
    account = TimeAccount()
    clock[0] = 1.0

    def fail():
        with account.spend("stepping"):
            clock[0] = 4.0
            with account.spend("checkpointing"):
                clock[0] = 9.0
            clock[0] = 10.0
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    shares = account.shares()
    found = [account.seconds[name] for name in ("starting", "stepping", "checkpointing")]
    assert found == [1.0, 4.0, 5.0]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert describe(account.seconds).startswith("goodput 40.0%: starting 10.0% (1 s)")


def test_all_starts_of_a_run_add_up(clock, tmp_path):
    account = TimeAccount()
    with account.spend("stepping"):
        clock[0] = 6.0
    record(tmp_path, account, first=0, last=30)
    killed = TimeAccount()  # after step 30, and with the same process number
    with killed.spend("stepping"):
        clock[0] = 12.0
    record(tmp_path, killed, first=20, last=40)
    whole = record(tmp_path, killed, first=20, last=50)
    assert whole["seconds"]["stepping"] == 12.0
    assert whole["steps_made_again"] == 10
    assert whole["goodput"] == 1.0
    began, ended = ([start[name] for start in whole["starts"]] for name in ("began", "ended"))
    assert all(map(datetime.fromisoformat, began + ended))
    assert sorted(began) == began
    assert began <= ended
