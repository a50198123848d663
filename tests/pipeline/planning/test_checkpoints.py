"""The interval between saves beside its paper and a search; bytes per host beside real shards."""

import jax
import numpy as np
import pytest

from model.sharding.mesh import make_mesh
from pipeline.planning.checkpoint_interval import best_interval
from pipeline.planning.checkpoints import PlannedCheckpoint, planned_checkpoint
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override
from pipeline.recipe.trainer import trainer_on

HOUR, MINUTE = 3600, 60


@pytest.mark.parametrize(("between_hours", "minutes"), [(24, 117), (6, 57), (0.25, 9.1)])
def test_daly_s_own_figures(between_hours, minutes):
    """His figures 3 to 5: a save of five minutes."""
    found = best_interval(5 * MINUTE, 5 * MINUTE, between_hours * HOUR) / MINUTE
    assert found == pytest.approx(minutes, abs=0.5)


def test_a_save_begins_after_the_one_before():
    assert best_interval(0.1, 900, 3 * HOUR) == 900
    assert best_interval(7 * HOUR, 8 * HOUR, 3 * HOUR) == 8 * HOUR


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
