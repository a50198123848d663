import io

from rich.console import Console
from rich.text import Text
from step_metrics import step_metrics

from pipeline.training.live_view import LiveView, duration, numbers
from pipeline.training.metrics_line import summary


def test_the_live_view_shows_every_number():
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    view = LiveView("switch-demo", 100, console)
    known = {"tokens_per_second": 1234.0, "seconds": 90.0, "model_flops_utilization": 0.413}
    line = {"step": 60, **summary([step_metrics()]), **known, "skipped": 2, "held_out_nats": 5.125}
    with view:
        view.show(line, {"stepping": 0.5, "waiting_for_data": 0.01}, "evaluating")
    shown = Text.from_ansi(console.file.getvalue()).plain  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in numbers(line, 100):
        assert f"{name} {value}" in shown
    expected = (
        "step 60 of 100", "loss 2.0000", "MFU 41.3%", "dropped 25.0%", "worst layer 0",
        "busiest expert 2.0 x even", "left 1:00:00", "skipped 2", "held-out loss 5.1250",
        "waiting for data 1.0%", "evaluating",
    )  # fmt: skip
    assert [part for part in expected if part not in shown] == []


def test_unknown_values_are_not_shown():
    shown = dict(numbers({"step": 10, "loss_nats": 2.0, "seconds": 3600.0}, steps=110))
    assert shown == {"step": "10 of 110", "loss": "2.0000", "left": "4 d 04:00"}
    assert duration(3725) == "1:02:05"
