"""Figures computed by hand: expert slots, the roofline's resources, days and cost."""

import dataclasses

import jax
import pytest

from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.expert_slots import ExpertSlots, expert_slots
from pipeline.planning.figures import time_figures
from pipeline.planning.hlo.collectives import Collective
from pipeline.planning.hlo.flops import Products
from pipeline.planning.memory import Memory
from pipeline.planning.roofline import Roofline, bytes_times_links
from pipeline.planning.topology import Topology
from pipeline.recipe.named import get
from pipeline.recipe.recipe import override


def test_slots_of_switch_c_by_hand():
    """512 encoder and 128 decoder groups per layer, 2 slots per expert, 15 layers each."""
    found = expert_slots(get("switch-c"))
    assert found == ExpertSlots(15 * (512 + 128) * 2048 * 2, 15 * 2048 * (512 + 114))
    assert found.wasted == pytest.approx(1 - 626 / 1280)


def test_dense_and_dropless_recipes_have_no_slots():
    assert expert_slots(get("t5-base")) is None
    assert expert_slots(override(get("switch-base"), ["model.switch.dispatch=dropless"])) is None


NOTHING = Memory(parameters=0, optimizer=0, batch=0, padding=0, kept=0, temporaries=0, program=0)


def test_the_slowest_resource_sets_the_step_and_its_cost():
    recipe = dataclasses.replace(get("t5-base"), rows=100, steps=86_400)
    chips = Topology("v5p:2x2x1", tuple(jax.devices()[:4]), 4, None, (2, 2, 1))
    seconds = {"matrix products": 0.25, "main memory": 0.5, "links": 0.125}
    roofline = Roofline(Products(1, 1), 1, [], [], {}, 0, peak=1e15, seconds=seconds)
    step = CompiledStep(recipe, chips, NOTHING, None, 0)
    found = {figure.name: figure.value for figure in time_figures(step, roofline, price=2.0)}
    assert found["step, all of these overlapping"] == 0.5
    assert found["binding"] == "main memory"
    assert found["step, none overlapping"] == 0.875
    assert found["tokens per second"] == 100 * (512 + 114) / 0.5
    assert found["86,400 steps"] == 0.5
    assert found["chip-hours"] == 0.5 * 24 * 4
    assert found["money at 2 per chip-hour"] == 96


def test_an_all_to_all_costs_its_mean_distance_and_a_ring_one_link():
    four = Topology("cpu:4", tuple(jax.devices()[:4]), 4, None, ())
    reduction = Collective("all-reduce", "activations", ("data",), (0, 1, 2, 3), 3, 1000)
    assert bytes_times_links(reduction, four) == 3 * 1500
    exchange = reduction._replace(kind="all-to-all")
    assert bytes_times_links(exchange, four) == 3 * 1000
