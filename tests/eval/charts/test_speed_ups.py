"""Bars of the step speed-up histogram."""

import pytest
from small_reports import make

from eval.charts.speed_ups import speed_up_chart, speedup_bins


def test_bins_count_everything_once_and_tell_slower_from_faster():
    speedups = [0.8, 1.0, 1.04, 1.3, 2.2, 2.25]
    bars = speedup_bins(speedups)
    assert sum(bar["languages"] for bar in bars) == len(speedups)
    assert len({bar["speedup"] for bar in bars}) == len(bars)
    assert sum(bar["languages"] for bar in bars if bar["slower"]) == 1


@pytest.mark.parametrize("speedups", [[1.0], [1.0, 1.0], [0.99, 1000.0], [0.1, 0.2]])
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
    assert bars[0]["speedup"] == "1–1.25"


def test_the_papers_mean_lies_in_one_bar_or_none():
    held = [bar for bar in speedup_bins([3.0, 4.9, 5.1, 6.0, 7.0]) if "holds_papers_mean" in bar]
    assert [bar["speedup"] for bar in held] == ["5–5.5"]
    assert not any("holds_papers_mean" in bar for bar in speedup_bins([1.0, 1.2, 1.3]))


def test_counts_between_seeds_are_means_over_divisions():
    bars = speedup_bins([1.5, 2.0], [[0.9, 1.1], [0.7, 1.6]])
    assert sum(bar["null"] for bar in bars) == pytest.approx(2)
    assert bars[0]["slower"]


def test_few_languages_have_a_bar_each():
    gains = make().gains
    spec = speed_up_chart(gains, []).to_dict()
    rows = spec["layer"][0]["data"]["values"] if "data" in spec["layer"][0] else None
    rows = rows or next(iter(spec["datasets"].values()))
    assert [row["name"] for row in rows] == [gain.name for gain in gains.values()]
    assert [row["slower"] for row in rows] == [False, False, False, True]
    assert all(row["from"] == 1 for row in rows)


def test_few_languages_have_a_line_per_division_of_seeds():
    null = make().compared
    gains = null.gains
    spec = speed_up_chart(gains, [null, null]).to_dict()
    (ticks,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "tick"]
    rows = ticks["data"]["values"]
    assert [row["null"] for row in rows] == 2 * [gain.speedup.ratio for gain in gains.values()]
    assert "tick" not in [
        layer["mark"]["type"] for layer in speed_up_chart(gains, []).to_dict()["layer"]
    ]
