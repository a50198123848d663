import io
import json

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text
from tensorboardX.proto.event_pb2 import Event

from model.loss import Losses
from model.nonfinite import GradientSite, Trace
from model.switch.routing_sums import LayerRouting
from model.train_step import StepMetrics
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.recipe import override
from pipeline.training.live_view import LiveView, duration, numbers
from pipeline.training.metrics_log import MOST_SKIPPED, Progress, curves, forget_after, summary
from pipeline.training.time_account import TimeAccount

SITES = [
    GradientSite((1, layer), f"encoder layer {layer}", "feed_forward.up") for layer in range(3)
]


def metrics(loss=10.0, tokens=5, skipped=False, squares=(1.0, 1.0, 2.0), rows=(5.0, 5.0)):
    load = np.int32([[4, 0], [2, 2]])
    layers = LayerRouting(load, *(np.float32([1, 1]) for _ in range(5)))
    routing = {"balance_loss": 1.0, "dropped_share": 0.25, "layers": layers}
    losses = Losses(np.float32(loss), tokens, 0.1, **routing)
    trace = Trace(np.float32(squares), np.float32(rows), np.int32([0, 1]), np.int32([3, 1]))
    return StepMetrics(losses, np.float32(2.0), np.float32(0.01), np.bool_(skipped), trace)


def test_the_live_view_shows_every_number():
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    view = LiveView("switch-demo", 100, console)
    known = {"tokens_per_second": 1234.0, "seconds": 90.0, "model_flops_utilization": 0.413}
    line = {"step": 60, **summary([metrics()]), **known, "skipped": 2, "held_out_nats": 5.125}
    with view:
        view.show(line, {"stepping": 0.5, "waiting_for_data": 0.01}, "evaluating")
    shown = Text.from_ansi(console.file.getvalue()).plain  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in numbers(line, 100):
        assert f"{name} {value}" in shown
    said = (
        "step 60 of 100", "loss 2.0000", "MFU 41.3%", "dropped 25.0%", "worst layer 0",
        "busiest expert 2.0 x even", "left 1:00:00", "skipped 2", "held-out loss 5.1250",
        "waiting for data 1.0%", "evaluating",
    )  # fmt: skip
    assert [part for part in said if part not in shown] == []


def progress(tmp_path, first=0):
    settings = ["log_every=2", "steps=100", "checkpoint_every=100"]
    return Progress(
        override(named.get("switch-demo"), settings),
        tmp_path,
        first,
        account=TimeAccount(),
        console=Console(quiet=True),
        sites=SITES,
        languages=("sw", "yo"),
    )


def run(tmp_path, count, first=0, **settings):
    with progress(tmp_path, first) as log:
        for step in range(first + 1, first + count + 1):
            log.step(step, metrics(**settings))


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


def test_losses_are_summed_before_they_are_divided():
    line = summary([metrics(loss=10.0, tokens=5), metrics(loss=2.0, tokens=1)])
    assert line["loss_nats"] == pytest.approx(2.0)
    assert line["dropped_share"] == pytest.approx(0.25)
    assert line["skipped"] == 0
    assert (line["worst_layer"], line["worst_layer_load"]) == (0, 2.0)


def test_skipped_steps_are_counted_and_left_out():
    line = summary([metrics(), metrics(loss=np.nan, skipped=True)])
    assert line["skipped"] == 1
    assert line["loss_nats"] == pytest.approx(2.0)


def test_a_line_every_so_many_steps_and_none_twice_after_resuming(tmp_path):
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
    with progress(tmp_path) as log:
        log.step(2, metrics())
        log.scored(2, {"sw": 3.0, "yo": 5.0})
    (path,) = (tmp_path / "tensorboard").iterdir()
    values = {
        value.tag: value.simple_value for event in events(path) for value in event.summary.value
    }
    assert values["held-out/loss_nats"] == 4.0
    assert values["held-out-by-language/yo"] == 5.0
    assert "training/dropped_share" in values
    assert not {"training/step", "training/steps"} & set(values)
    assert list(curves({"step": 2, "loss_nats": 1.0, "balance_loss": 0.0}, sparse=False)) == [
        "loss_nats"
    ]


def test_a_broken_run_stops_with_its_reason(tmp_path):
    """The trouble of one row's language, and of a layer's backward pass."""
    with pytest.raises(ArtifactError) as error:
        run(tmp_path, 20, skipped=True, squares=(np.nan, np.nan, 1.0), rows=(5.0, np.nan))
    assert f"skipped its last {MOST_SKIPPED} updates" in str(error.value)
    assert "stopped being finite in encoder layer 1 (feed_forward.up)" in str(error.value)
    assert "its 1 rows were in yo." in str(error.value)
    assert "begin anew with another --out" in str(error.value)  # this one refuses other settings
    skipped = lines(tmp_path, "skipped.jsonl")
    assert [one["step"] for one in skipped] == list(range(1, MOST_SKIPPED + 1))
    assert skipped[0]["languages"] == ["yo"]


def test_exploded_gradients_name_their_layer_and_all_languages(tmp_path):
    run(tmp_path, 2, skipped=True, squares=(1.0, 1e12, 1.0))
    (first, _) = lines(tmp_path, "skipped.jsonl")
    assert "the gradient norm was 1e+06" in first["where"]
    assert "encoder layer 1" in first["where"]
    assert first["languages"] == ["sw", "yo"]


def test_what_is_not_known_is_not_shown():
    shown = dict(numbers({"step": 10, "loss_nats": 2.0, "seconds": 3600.0}, steps=110))
    assert shown == {"step": "10 of 110", "loss": "2.0000", "left": "4 d 04:00"}
    assert duration(3725) == "1:02:05"
