"""Figures computed by hand: expert slots, the roofline's resources, days and cost.

The interval between saves beside its paper and a search; bytes per host beside real shards.
"""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from model.sharding.mesh import make_mesh
from pipeline.planning.figures import (
    ExpertSlots,
    PlannedCheckpoint,
    best_interval,
    expert_slots,
    planned_checkpoint,
    time_figures,
)
from pipeline.planning.hlo.collectives import Collective, SliceTransfer
from pipeline.planning.roofline import (
    Transfer,
    bytes_times_links,
    hops_seconds,
    least_seconds,
    transfers,
)
from pipeline.planning.topology import Topology
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override
from pipeline.recipe.trainer import trainer_on


def test_slots_of_switch_c_by_hand():
    """512 encoder and 128 decoder groups per layer, 2 slots per expert, 15 layers each."""
    found = expert_slots(get("switch-c"))
    assert found == ExpertSlots(15 * (512 + 128) * 2048 * 2, 15 * 2048 * (512 + 114))
    assert found.wasted == pytest.approx(1 - 626 / 1280)
    assert expert_slots(get("t5-base")) is None
    assert expert_slots(override(get("switch-base"), ["model.switch.dispatch=dropless"])) is None


def test_the_slowest_resource_sets_the_step_and_its_cost():
    recipe = dataclasses.replace(get("t5-base"), rows=100, steps=86_400)
    seconds = {"matrix products": 0.25, "main memory": 0.5, "links": 0.125}
    machine = {"chips": 4, "peak": 1e15, "price": 2.0}
    found = {f.name: f.value for f in time_figures(recipe, seconds, 0.01, **machine)}
    flops = 100 * 3 * 141_981_401_088  # rows, forward and backward, of a sequence of T5-Base
    assert found["model FLOPs utilization"] == pytest.approx(flops / 0.5 / 1e15)
    expected = {
        "step, all of these overlapping": 0.5,
        "binding": "main memory",
        "step, none overlapping": 0.875,
        "tokens per second": 100 * (512 + 114) / 0.5,
        "86,400 steps": 0.5,
        "chip-hours": 0.5 * 24 * 4,
        "money at 2 per chip-hour": 96,
    }
    assert expected == {name: found[name] for name in expected}
    begun = time_figures(recipe, seconds, 0.01, **machine, upcycled=True)
    assert "86,400 steps, those of a dense run among them" in {figure.name for figure in begun}


WITHOUT = Topology("cpu:4", tuple(jax.devices()[:4]), 4, None, ())
REDUCTION = Collective("all-reduce", "activations", ("data",), (0, 1, 2, 3), 3, 1000)


def torus_of(*shape: int, at: list[tuple[int, ...]]) -> Topology:
    chips = tuple(SimpleNamespace(coords=one, device_kind="TPU v5") for one in at)
    return Topology("v5p", chips, len(chips), None, shape)


def test_an_all_to_all_costs_its_mean_distance_and_a_ring_one_link():
    """On a line of three with a fourth beside its end the distances are 1 to 3."""
    torus = torus_of(3, 2, 1, at=[(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0)])
    assert bytes_times_links(REDUCTION, torus) == bytes_times_links(REDUCTION, WITHOUT) == 1500
    exchange = REDUCTION._replace(kind="all-to-all")
    assert bytes_times_links(exchange, torus) == 1000 * 2 * (1 + 2 + 3 + 1 + 2 + 1) / 16
    assert bytes_times_links(exchange, WITHOUT) == 750  # a quarter stays
    far, gather = SliceTransfer("all-gather", 2, 100, 2), REDUCTION._replace(kind="all-gather")
    assert transfers([REDUCTION, gather, REDUCTION], [far], WITHOUT) == [
        Transfer("all-reduce of activations over data", 6, 1500.0, 2, 0.0, 0),  # both in one
        Transfer("all-gather of activations over data", 3, 750.0, 1, 0.0, 0),
        Transfer("all-gather between slices", 2, 0.0, 0, 100.0, 1),
    ]


def test_a_permute_costs_the_distance_of_its_farthest_pair():
    line, pairs = torus_of(3, 1, 1, at=[(n, 0, 0) for n in range(3)]), ((0, 1), (1, 2), (2, 0))
    permute = REDUCTION._replace(kind="collective-permute", group=(0, 1), pairs=pairs)
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


HOUR, MINUTE = 3600, 60


@pytest.mark.parametrize(("between_hours", "minutes"), [(24, 117), (6, 57), (0.25, 9.1)])
def test_daly_s_own_figures(between_hours, minutes):
    """His figures 3 to 5: a save of five minutes."""
    found = best_interval(5 * MINUTE, 5 * MINUTE, between_hours * HOUR) / MINUTE
    assert found == pytest.approx(minutes, abs=0.5)
    for written in (900, 8 * HOUR):  # a save begins after the one before
        assert best_interval(written / 9000, written, 3 * HOUR) == written


@pytest.mark.parametrize("hours", [3, 8, 24])
def test_no_other_interval_is_half_a_point_better(hours):
    """Against the expected share by hand: a save counts if no failure comes before it is whole."""
    blocked, written, restart = 10.0, 112.0, 400.0

    def share(interval):
        cycle = interval + blocked
        begins = interval + np.arange(200_000 // cycle) * cycle
        alive = np.exp(-(restart + begins + written) / (hours * HOUR))
        return interval * alive.sum() / (hours * HOUR)

    found = share(best_interval(blocked, written, hours * HOUR))
    best = max(share(one) for one in np.geomspace(written, 4 * HOUR, 200))
    assert best - 0.005 < found <= best + 1e-4


def test_bytes_per_host_are_those_of_the_shards_that_are_written():
    """Parameters replicated over data and experts that are not, on one host of eight devices."""
    sizes = ["mesh.data=2", "mesh.expert=2", "mesh.model=2", "model.heads=2", "rows=8"]
    recipe = override(get("switch-demo"), sizes)
    planned = planned_checkpoint(recipe, jax.devices())
    trainer = trainer_on(recipe, make_mesh(recipe.mesh))
    state = jax.tree.map(
        lambda leaf, sharding: jax.device_put(np.zeros(leaf.shape, leaf.dtype), sharding),
        jax.eval_shape(trainer.init),
        trainer.shardings,
    )
    written = sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(state)
        for shard in leaf.addressable_shards
        if shard.replica_id == 0
    )
    assert (planned.whole, planned.host, planned.hosts) == (written, written, 1)


def test_seconds_and_steps_follow_from_the_bytes_of_a_host():
    planned = PlannedCheckpoint(whole=6_300 * 10**9, host=100 * 10**9, hosts=64)
    assert (planned.blocked, planned.written) == (10, 110)
    assert planned.steps_between(0.5, 8) == round(best_interval(10, 110, 8 * HOUR) / 0.5)
    assert planned.steps_between(1e6, 8) == 1
