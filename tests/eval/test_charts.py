import pytest

from eval.charts import speedup_bins


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
