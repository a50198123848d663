"""Figures computed by hand: expert slots, the roofline's resources, days and cost."""

import dataclasses
from types import SimpleNamespace

import jax
import pytest

from pipeline.planning.between_slices import SliceTransfer
from pipeline.planning.expert_slots import ExpertSlots, expert_slots
from pipeline.planning.figures import time_figures
from pipeline.planning.hlo.collectives import Collective
from pipeline.planning.roofline import hops_seconds, least_seconds
from pipeline.planning.topology import Topology
from pipeline.planning.transfers import Transfer, bytes_times_links, transfers
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override


def test_slots_of_switch_c_by_hand():
    """512 encoder and 128 decoder groups per layer, 2 slots per expert, 15 layers each."""
    found = expert_slots(get("switch-c"))
    assert found == ExpertSlots(15 * (512 + 128) * 2048 * 2, 15 * 2048 * (512 + 114))
    assert found.wasted == pytest.approx(1 - 626 / 1280)


def test_dense_and_dropless_recipes_have_no_slots():
    assert expert_slots(get("t5-base")) is None
    assert expert_slots(override(get("switch-base"), ["model.switch.dispatch=dropless"])) is None


def test_the_slowest_resource_sets_the_step_and_its_cost():
    recipe = dataclasses.replace(get("t5-base"), rows=100, steps=86_400)
    seconds = {"matrix products": 0.25, "main memory": 0.5, "links": 0.125}
    figures = time_figures(recipe, seconds, 0.01, chips=4, peak=1e15, price=2.0)
    found = {figure.name: figure.value for figure in figures}
    assert found["step, all of these overlapping"] == 0.5
    assert found["binding"] == "main memory"
    assert found["step, none overlapping"] == 0.875
    flops = 100 * 3 * 141_981_401_088  # rows, forward and backward, of a sequence of T5-Base
    assert found["model FLOPs utilization"] == pytest.approx(flops / 0.5 / 1e15)
    assert found["tokens per second"] == 100 * (512 + 114) / 0.5
    assert found["86,400 steps"] == 0.5
    assert found["chip-hours"] == 0.5 * 24 * 4
    assert found["money at 2 per chip-hour"] == 96
    begun = time_figures(recipe, seconds, 0.01, chips=4, peak=1e15, price=2.0, upcycled=True)
    assert "86,400 steps, those of a dense run among them" in {figure.name for figure in begun}


def test_an_all_to_all_costs_its_mean_distance_and_a_ring_one_link():
    """On a line of three with a fourth beside its end the distances are 1 to 3."""
    at = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0)]
    chips = tuple(SimpleNamespace(coords=one, device_kind="TPU v5") for one in at)
    torus = Topology("v5p:3x2x1", chips, 4, None, (3, 2, 1))
    without = Topology("cpu:4", tuple(jax.devices()[:4]), 4, None, ())
    reduction = Collective("all-reduce", "activations", ("data",), (0, 1, 2, 3), 3, 1000)
    assert bytes_times_links(reduction, torus) == bytes_times_links(reduction, without) == 1500
    exchange = reduction._replace(kind="all-to-all")
    assert bytes_times_links(exchange, torus) == 1000 * 2 * (1 + 2 + 3 + 1 + 2 + 1) / 16
    assert bytes_times_links(exchange, without) == 750  # a quarter stays


def test_a_permute_costs_the_distance_of_its_farthest_pair():
    chips = tuple(SimpleNamespace(coords=(n, 0, 0), device_kind="TPU v5") for n in range(3))
    line = Topology("v5p:3x1x1", chips, 3, None, (3, 1, 1))
    pairs = (0, 1), (1, 2), (2, 0)
    permute = Collective("collective-permute", "parameters", ("data",), (0, 1), 3, 1000, pairs)
    (found,) = transfers([permute], [], line)
    assert (found.link_bytes, found.hops) == (2000, 2)
    (neighbours,) = transfers([permute._replace(pairs=pairs[:2])], [], line)
    assert (neighbours.link_bytes, neighbours.hops) == (1000, 1)


def test_a_small_collective_costs_its_hops_and_a_large_one_its_bytes():
    """TPU v5p: 600 GB and a million hops per second."""
    small = Transfer("all-gather of parameters over data", 5, 600.0, 7, 0.0, 0)
    large = small._replace(link_bytes=6e9)
    far = Transfer("all-reduce between slices", 4, 0.0, 0, 6.25e9, 2)
    seconds = least_seconds("TPU v5", 459e12, 2765e9, [small, large, far])
    assert seconds is not None
    assert seconds["links"] == pytest.approx(5 * 7e-6 + 5 * 0.01)
    assert seconds["network"] == pytest.approx(4 * 1)
    assert seconds["matrix products"] == seconds["main memory"] == 1
    assert hops_seconds("TPU v5", [small, large, far]) == pytest.approx(10 * 7e-6 + 4 * 20e-6)


def test_equal_collectives_are_one_transfer():
    four = Topology("cpu:4", tuple(jax.devices()[:4]), 4, None, ())
    reduction = Collective("all-reduce", "activations", ("data",), (0, 1, 2, 3), 3, 1000)
    gather = reduction._replace(kind="all-gather")
    far = SliceTransfer("all-gather", 2, 100, 2)
    found = transfers([reduction, gather, reduction], [far], four)
    assert found == [
        Transfer("all-reduce of activations over data", 6, 1500.0, 2, 0.0, 0),
        Transfer("all-gather of activations over data", 3, 750.0, 1, 0.0, 0),
        Transfer("all-gather between slices", 2, 0.0, 0, 100.0, 1),
    ]
