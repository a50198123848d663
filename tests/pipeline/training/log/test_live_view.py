import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from step_metrics import step_metrics

from pipeline.runs.filled_gaps import FilledGap
from pipeline.terminal import Terminal
from pipeline.training.log.live_view import LiveView, duration, numbers
from pipeline.training.log.metrics_line import summary

LAYERS = ["decoder layer 2"]


def test_the_live_view_shows_every_number():
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    view = LiveView("switch-demo", 100, console, LAYERS)
    known = {"tokens_per_second": 1234.0, "seconds": 90.0, "model_flops_utilization": 0.413}
    line = {
        "step": 60,
        **summary([step_metrics()]),
        **known,
        "skipped": 2,
        "held_out_loss_nats": 5.125,
        "held_out_step": 50,
    }
    with view:
        view.show(line, {"stepping": 0.5, "waiting_for_data": 0.01}, "evaluating")
    shown = Text.from_ansi(console.file.getvalue()).plain  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in numbers(view.named(line), 100):
        assert f"{name} {value}" in shown
    expected = (
        "step 60 of 100", "loss 2.0000", "MFU 41.3%", "dropped 25.0%",
        "busiest layer decoder layer 2",
        "busiest expert 2.0 x even", "left 1:00:00", "skipped 2",
        "held-out loss 5.1250 nats (step 50)",
        "waiting for data 1.0%", "evaluating",
    )  # fmt: skip
    assert [part for part in expected if part not in shown] == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_or_beyond_the_terminal(width):
    console = Console(force_terminal=True, width=width, file=io.StringIO(), legacy_windows=False)
    view = LiveView("switch-demo", 1_000_000, console, LAYERS)
    known = {"tokens_per_second": 1234567.0, "seconds": 9.0, "model_flops_utilization": 0.413}
    held_out = {"held_out_loss_nats": 5.125, "held_out_step": 654_000}
    line = {"step": 654_321, **summary([step_metrics()]), **known, **held_out}
    arabic, chinese = "يولد جميع الناس أحرارا ", "人人生而自由在尊严和权利上"
    gaps = [
        FilledGap(code, text * 9, text, text, text * 9)
        for code, text in (("ar", arabic), ("zh", chinese))
    ]
    shares = {"stepping": 0.5, "waiting_for_data": 0.01, "compiling": 0.3, "checkpointing": 0.1}
    with view:
        view.show_gaps(654_000, gaps)
        view.show(line, shares, "evaluating")
    shown = Text.from_ansi(console.file.getvalue()).plain  # pyright: ignore[reportAttributeAccessIssue]
    assert {cell_len(row) for row in shown.splitlines() if "│" in row} == {width}
    assert max(map(cell_len, shown.splitlines())) <= width
    for name, value in numbers(view.named(line), 1_000_000):
        assert f"{name} {value}" in shown
    assert all(f"{code}: ..." in shown for code in ("ar", "zh"))
    assert shown.count("(was: ") >= 2


def test_a_log_has_gaps_whole():
    console = Terminal(width=60, file=io.StringIO())
    view = LiveView("switch-demo", 100, console)
    with view:
        view.show_gaps(20, [FilledGap("sw", "Watu " * 20, "huru", "sawa", "!")])
    (line,) = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert line == f"switch-demo: step 20 fills sw: {'Watu ' * 20}[huru]! (was: sawa)"


def test_unknown_values_are_not_shown():
    shown = dict(numbers({"step": 10, "loss_nats": 2.0, "seconds": 3600.0}, steps=110))
    assert shown == {"step": "10 of 110", "loss": "2.0000", "left": "4 d 04:00"}
    assert duration(3725) == "1:02:05"
