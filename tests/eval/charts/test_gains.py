"""What is drawn of an interval."""

import dataclasses

import pytest
from small_reports import make

from eval.charts import gains
from eval.charts.parts import interval_limits
from eval.compare import Estimate


def ends(value, low=None, high=None):
    return Estimate(value=value, low=low, high=high, examples=10)


def _with(*rows):
    """Returns languages with these gains, lower and upper ends."""
    one = make().gains["sw"]
    return {
        str(number): dataclasses.replace(
            one, gain=dataclasses.replace(one.gain, value=gain.value, low=gain.low, high=gain.high)
        )
        for number, gain in enumerate(rows)
    }


def test_intervals_alike_are_drawn_whole():
    assert interval_limits([ends(0.1, 0.0, 0.2), ends(0.2, 0.1, 0.3)]) == (0.0, 0.3)


def test_one_long_interval_does_not_flatten_the_gains():
    usual = [ends(0.1 * n, 0.1 * n - 0.05, 0.1 * n + 0.05) for n in range(4)]
    low, high = interval_limits([*usual, ends(0.2, -9.0, 9.0)])
    assert (low, high) == pytest.approx((0.0 - 2 * 0.05, 0.3 + 2 * 0.05))


def test_gains_and_zero_are_always_drawn():
    of_one_page = ends(-0.5)
    assert interval_limits([of_one_page, ends(-0.1, -0.2, -0.05)]) == (-0.5, 0.0)
    assert interval_limits([ends(0.4)]) == (0.0, 0.4)


def test_a_cut_end_has_an_arrow_and_no_other_has():
    usual = [ends(0.1 * n, 0.1 * n - 0.05, 0.1 * n + 0.05) for n in range(30)]
    drawn = gains.wide(make(), _with(*usual, ends(0.2, 0.1, 9.0))).to_dict()
    rows = (
        next(iter(drawn["datasets"].values())) if "datasets" in drawn else drawn["data"]["values"]
    )
    assert [row["code"] for row in rows if row["to"] != row["high"]] == ["30"]
    assert [row["code"] for row in rows if row["from"] != row["low"]] == []
    shapes = [one["mark"].get("shape") for one in drawn["layer"]]
    assert "triangle-up" in shapes
    assert "triangle-down" not in shapes
