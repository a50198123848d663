"""Faults of routers, and none in chance."""

import io
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from step_metrics import step_metrics

from pipeline.runs.finished import FilledGap
from pipeline.terminal import Terminal
from pipeline.training.log.live_view import (
    LEAST_EVEN,
    WINDOW,
    LiveView,
    RoutingWindow,
    duration,
    numbers,
    router_faults,
)
from pipeline.training.log.metrics import summary

LAYERS = ("encoder layer 1", "decoder layer 3")
STEPS, EXPERTS, TOKENS = WINDOW, 16, 1_600


@pytest.fixture
def healthy():
    """Uneven loads of two layers: one expert at a tenth of an even load, one at twice as much."""
    shares = np.full(EXPERTS, (EXPERTS - 2.1) / (EXPERTS - 2))
    shares[3], shares[5] = 0.1, 2.0
    random = np.random.default_rng(0)
    load = random.multinomial(TOKENS, shares / EXPERTS, size=(STEPS, len(LAYERS)))
    moves = random.uniform(1e-9, 1e-3, size=(STEPS, len(LAYERS)))
    return RoutingWindow(load, moves, np.ones(STEPS, bool))


def test_a_dead_expert_is_named_with_its_layer(healthy):
    assert router_faults(healthy, LAYERS) == []  # uneven, and yet not a fault
    healthy.load[:, 1, 7] = 0
    healthy.load[-1, 1, 7] = 2  # not quite dead: 2 of 5,000
    (fault,) = router_faults(healthy, LAYERS)
    assert fault == ("decoder layer 3", "dead experts", (7,))
    expected = "decoder layer 3: below 0.2% of an even load in 50 steps: expert 7"
    assert fault.sentence() == expected


def test_too_few_tokens_or_half_a_window_are_no_evidence_of_death(healthy):
    healthy.load[:, 1, 7] = 0
    few = healthy.load * LEAST_EVEN // (TOKENS * STEPS // EXPERTS) // 2
    assert router_faults(healthy._replace(load=few), LAYERS) == []
    half = RoutingWindow(*(part[: STEPS // 2] for part in healthy))
    assert router_faults(half, LAYERS) == []


def test_one_expert_for_all_is_one_fault(healthy):
    healthy.load[:, 0] = 1
    healthy.load[:, 0, 11] = TOKENS
    assert router_faults(healthy, LAYERS) == [("encoder layer 1", "one expert for all", (11,))]


def test_a_router_that_does_not_move_is_frozen_if_updates_were_made(healthy):
    healthy.moves[:, 1] = 0
    assert router_faults(healthy, LAYERS) == [("decoder layer 3", "frozen router", ())]
    healthy.updated[:] = False  # at a rate of 0, or skipped
    assert router_faults(healthy, LAYERS) == []
    healthy.updated[:] = True
    healthy.moves[-1, 1] = 1e-12
    assert router_faults(healthy, LAYERS) == []


def test_weights_that_are_no_numbers_are_named_at_once(healthy):
    first = RoutingWindow(*(part[:1] for part in healthy))
    first.moves[0, 0] = np.nan
    assert router_faults(first, LAYERS) == [("encoder layer 1", "nan router", ())]


def shown_by(width, show):
    """What a live view shows on a terminal of this width."""
    console = Console(force_terminal=True, width=width, file=io.StringIO(), legacy_windows=False)
    view = LiveView("switch-demo", 1_000_000, console, ["decoder layer 2"])
    with view:
        show(view)
    return Text.from_ansi(console.file.getvalue()).plain


LINE = {
    **{"step": 654_321, **summary([step_metrics()]), "tokens_per_second": 1234567.0},
    **{"seconds": 90.0, "model_flops_utilization": 0.413, "skipped": 2},
    **{"held_out_loss_nats": 5.125, "held_out_step": 654_000},
}


def test_the_live_view_shows_every_number():
    seconds = {"stepping": 0.5, "waiting_for_data": 0.01}
    shown = shown_by(120, lambda view: view.show(LINE, seconds, "evaluating"))
    expected = (
        *("step 654,321 of 1,000,000", "loss 2.0000", "MFU 41.3%", "dropped 25.0%"),
        *("busiest layer decoder layer 2", "busiest expert 2.0 x even", "left 360 d", "skipped 2"),
        *("held-out loss 5.1250 nats (step 654,000)", "waiting for data 1.0%", "evaluating"),
    )
    assert [part for part in expected if part not in shown] == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_or_beyond_the_terminal(width):
    texts = {"ar": "يولد جميع الناس أحرارا ", "zh": "人人生而自由在尊严和权利上"}
    gaps = [FilledGap(code, text * 9, text, text, text * 9) for code, text in texts.items()]
    seconds = {"stepping": 0.5, "waiting_for_data": 0.01, "compiling": 0.3, "checkpointing": 0.1}
    named = []

    def show(view):
        view.show_gaps(654_000, gaps)
        view.show(LINE, seconds, "evaluating")
        named.extend(numbers(view.with_layer_name(LINE), 1_000_000))

    shown = shown_by(width, show)
    rows = [row for row in shown.splitlines() if "│" in row]
    assert {cell_len(row) for row in rows} == {width}
    assert all(row.replace("│", "").replace("━", "").replace("╸", "").isascii() for row in rows)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert named
    assert [name for name, value in named if f"{name} {value}" not in shown] == []
    assert all(f"{code}: " in shown for code in ("ar", "zh"))
    assert shown.count("(was: ") == 2


DRAWN = """
import os
from rich.console import Console
from pipeline.runs.finished import FilledGap
from pipeline.training.log.live_view import LiveView

texts = {"hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में ", "th": "มนุษย์ทั้งหลายเกิดมามีอิสระเสรี ",
         "ja": "すべての人間は、生まれながらにして自由であり、か\u3099"}
view = LiveView("switch-demo", 100, Console())
with view:
    for step in range(1, 9):
        gaps = [FilledGap(code, text * 9, text, text, text * 9) for code, text in texts.items()]
        view.show_gaps(step, gaps)
        view.show({"step": step, "loss_nats": 4.0, "tokens_per_second": 9.0}, {"stepping": 1.0})
        view.live.refresh()
        if step == 7:
            os.write(1, b"^C")  # what a terminal shows of Ctrl-C
"""


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux draws what a terminal shows")
def test_a_terminal_shows_one_panel_whatever_is_written_in_the_gaps(tmp_path):
    (tmp_path / "draw.py").write_text(DRAWN)
    tmux = ["tmux", "-u", "-f", "/dev/null", "-S", str(tmp_path / "socket")]
    path = os.pathsep.join(sys.path)
    draw = f"PYTHONPATH={shlex.quote(path)} {sys.executable} {tmp_path}/draw.py"
    end = f"{shlex.join([*tmux, 'wait-for', '-S', 'drawn'])}; sleep 60"
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "80", "-y", "30", f"{draw}; {end}"],
        env=os.environ | {"LC_ALL": "C.UTF-8", "TERM": "screen"},
        check=True,
    )
    try:
        subprocess.run([*tmux, "wait-for", "drawn"], check=True, timeout=120)
        capture = [*tmux, "capture-pane", "-p", "-S", "-1000"]
        shown = subprocess.run(capture, check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    assert (shown.count("╭"), shown.count("╰")) == (1, 1), shown
    assert shown.count("(was: ") == 3 * 8
    assert "step 8 of 100" in shown


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
