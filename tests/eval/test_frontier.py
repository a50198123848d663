"""Costs and frontiers: a small example by hand, and what holds for any points."""

from hypothesis import given
from hypothesis import strategies as st
from small_reports import CODES, losses

from eval.frontier import (
    ALL,
    COSTS,
    Network,
    NetworkRun,
    Point,
    equal_in,
    frontier,
    in_words,
    means,
    points,
)
from eval.losses import Unit


def network(name="mT5", *, levels=(), **changes):
    """Returns a network with runs of so many steps and this loss, which take 2 seconds per step."""
    known = dict(
        side="mT5",
        width=32,
        parameters=1000,
        flops_per_token=100.0,
        step_device_seconds=2.0,
        devices=("cpu",),
        runs=tuple(
            NetworkRun(seed, steps, 2.0 * steps, losses([level] * len(CODES), 0))
            for seed, steps, level in levels
        ),
    )
    return Network(name=name, **known | changes)


def point(cost, loss):
    return Point("mT5", "mT5", (0,), 1, cost, cost, cost, {ALL: loss})


def test_equal_is_what_differs_by_five_percent_of_the_candidates():
    ours = network()
    assert equal_in(network(), ours) == ("FLOPs per token", "parameters", "time per step", "width")
    assert equal_in(network(parameters=1050, width=48), ours) == (
        "FLOPs per token",
        "parameters",
        "time per step",
    )
    assert "parameters" in (equal_in(network(parameters=950), ours) or ())
    assert "parameters" not in (equal_in(network(parameters=949), ours) or ())
    assert "parameters" not in (equal_in(network(parameters=1051), ours) or ())


def test_times_of_other_devices_are_not_equal_and_measured_ones_come_first():
    ours = network()
    assert "time per step" not in (equal_in(network(devices=("TPU v5p",)), ours) or ())
    assert "time per step" not in (equal_in(network(), ours, 0.85) or ())
    slower = network(step_device_seconds=9.0)
    assert "time per step" in (equal_in(slower, ours, 1.01) or ())


def test_what_is_equal_begins_a_sentence():
    assert in_words(("FLOPs per token", "width")) == "At equal FLOPs per token and width"
    assert in_words(("parameters",)) == "At equal parameters"
    assert in_words(()) == "With nothing equal within 5%"
    nothing = network(width=0, parameters=None, flops_per_token=None, step_device_seconds=None)
    assert in_words(equal_in(nothing, network())) == ""


def test_points_means_and_frontier_of_two_networks():
    narrow = network("narrow", levels=[(1, 20, 3.1), (0, 10, 3.4), (1, 10, 3.6), (0, 20, 3.3)])
    wide = network("wide", levels=[(0, 10, 3.3)], parameters=2000, flops_per_token=200.0)
    found = points([narrow, wide], Unit.NATS_PER_TOKEN, {ALL: ["sw", "en"], "Cyrl": ["ru"]})
    assert [(one.network, one.steps, one.seeds) for one in found] == [
        ("narrow", 10, (0,)),
        ("narrow", 10, (1,)),
        ("narrow", 20, (0,)),
        ("narrow", 20, (1,)),
        ("wide", 10, (0,)),
    ]
    assert [one.device_seconds for one in found] == [20, 20, 40, 40, 20]
    short, long, other = means(found)
    assert (short.seeds, short.device_seconds) == ((0, 1), 20)
    assert [round(one.losses[ALL], 1) for one in (short, long, other)] == [3.5, 3.2, 3.3]
    assert set(short.losses) == {ALL, "Cyrl"}
    assert frontier([short, long, other], "device_seconds") == [other, long]
    assert frontier([short, long, other], "parameters") == [long]  # wider, and not better


def test_a_mean_over_seeds_has_a_time_only_if_each_has():
    one, other = points(
        [network(levels=[(0, 10, 3.0), (1, 10, 3.0)])], Unit.NATS_PER_TOKEN, {ALL: ["sw"]}
    )
    (mean,) = means([one, other._replace(device_seconds=None)])
    assert mean.device_seconds is None
    assert frontier([mean], "device_seconds") == []
    assert frontier([mean], "parameters") == [mean]


NUMBERS = st.integers(1, 9).map(float)
POINTS = st.lists(st.builds(point, st.one_of(st.none(), NUMBERS), NUMBERS), max_size=12)


@given(POINTS, st.sampled_from([*COSTS]))
def test_a_frontier_falls_as_costs_rise_and_nothing_is_below_it(of_side, cost):
    best = frontier(of_side, cost)
    costs, heights = ([one.cost(cost) for one in best], [one.losses[ALL] for one in best])
    assert costs == sorted({*costs})
    assert heights == sorted({*heights}, reverse=True)
    for one in of_side:
        if one.cost(cost) is not None:
            assert any(
                at.cost(cost) <= one.cost(cost) and at.losses[ALL] <= one.losses[ALL] for at in best
            )


@given(POINTS.flatmap(lambda of_side: st.tuples(st.just(of_side), st.permutations(of_side))))
def test_a_frontier_does_not_depend_on_the_order_of_its_points(both):
    assert frontier(both[0], "parameters") == frontier(both[1], "parameters")
