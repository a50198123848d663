"""Bars of the step speed-up histogram."""

import pytest

from eval.charts.speedup import speedup_bins


def test_bins_count_everything_once_and_keep_the_not_reached_apart():
    speedups = [None, 1.0, 1.04, 1.3, 2.2, None, 2.25]
    bars = speedup_bins(speedups)
    assert bars[0] == {"speedup": "not reached", "languages": 2, "label": "2"}
    assert sum(bar["languages"] for bar in bars) == len(speedups)
    assert len({bar["speedup"] for bar in bars}) == len(bars)


@pytest.mark.parametrize("speedups", [[None], [], [1.0], [1.0, 1.0], [0.99, 1000.0]])
def test_bins_of_odd_inputs(speedups):
    bars = speedup_bins(speedups)
    assert sum(bar["languages"] for bar in bars) == len(speedups)
    assert len(bars) <= 17


def test_outliers_share_the_last_bar_and_leave_the_others_narrow():
    bars = speedup_bins([1.0, 1.1, 1.2, 1.3, 1.4, 20.0, 30.0])
    assert sum(bar["languages"] for bar in bars) == 7
    assert bars[-1]["speedup"].endswith("or more")
    assert bars[-1]["languages"] == 2
    assert bars[-1]["holds_papers_mean"]
    assert bars[1]["speedup"] == "1–1.25"


def test_the_papers_mean_lies_in_one_bar_or_none():
    held = [bar for bar in speedup_bins([3.0, 4.9, 5.1, 6.0, 7.0]) if "holds_papers_mean" in bar]
    assert [bar["speedup"] for bar in held] == ["5–5.5"]
    assert not any("holds_papers_mean" in bar for bar in speedup_bins([1.0, 1.2, 1.3]))
