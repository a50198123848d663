"""The checkpoints of a planned run: bytes per host, seconds, and how often to save.

Each host writes the shards of its own devices, and of equal shards the first device's. So the bytes
of a host follow from shapes and shardings alone.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding

from model.sharding.mesh import make_mesh
from pipeline.planning.checkpoint_interval import best_interval
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.figures import Figure
from pipeline.planning.roofline import Roofline
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on

STORE_BANDWIDTH = 1e9  # bytes per second that a host writes to a store; assumed
COPY_BANDWIDTH = 10e9  # bytes per second from a host's devices to its memory; assumed
FAILURES = (3, 8, 24)  # mean hours between two


class PlannedCheckpoint(NamedTuple):
    """A checkpoint of a run that need not exist.

    Attributes:
        whole: bytes of all arrays.
        host: bytes of the host that writes most.
        hosts: number of hosts.
    """

    whole: int
    host: int
    hosts: int

    @property
    def blocked(self) -> float:
        """Seconds for which a save holds up the loop: the copy from the devices."""
        return self.host / COPY_BANDWIDTH

    @property
    def written(self) -> float:
        """Seconds from the beginning of a save until the checkpoint is whole."""
        return self.blocked + self.host / STORE_BANDWIDTH

    def steps_between(self, step_seconds: float, hours: float) -> int:
        """Returns the steps between saves that lose the least time, with a failure per `hours`."""
        seconds = best_interval(self.blocked, self.written, hours * 3600)
        return max(round(seconds / step_seconds), 1)


def planned_checkpoint(recipe: Recipe, devices: Sequence[Any]) -> PlannedCheckpoint:
    """Returns the checkpoint of a recipe on devices that need not exist."""
    trainer = trainer_on(recipe, make_mesh(recipe.mesh, devices))
    shapes = jax.tree.leaves(jax.eval_shape(trainer.init))
    shardings = jax.tree.leaves(trainer.shardings)
    layouts = Counter(
        (leaf.shape, leaf.dtype.itemsize, sharding)
        for leaf, sharding in zip(shapes, shardings, strict=True)
    )
    by_host = Counter({device.process_index: 0 for device in devices})
    for (shape, itemsize, sharding), count in layouts.items():
        size = count * itemsize * math.prod(sharding.shard_shape(shape))
        for host, shards in _shards_by_host(shape, sharding).items():
            by_host[host] += shards * size
    return PlannedCheckpoint(by_host.total(), max(by_host.values()), len(by_host))


def _shards_by_host(shape: tuple[int, ...], sharding: NamedSharding) -> Counter[int]:
    """Returns the number of different shards that each host writes."""
    first: dict[tuple[tuple[Any, Any], ...], int] = {}
    for device, index in sharding.devices_indices_map(shape).items():
        first.setdefault(tuple((part.start, part.stop) for part in index), device.process_index)
    return Counter(first.values())


def checkpoint_figures(step: CompiledStep, roofline: Roofline) -> Iterator[Figure]:
    """Yields the sizes of a checkpoint, its seconds, and steps between saves."""
    section = "checkpoint"
    planned = planned_checkpoint(step.recipe, step.topology.devices)
    yield Figure(section, "arrays", planned.whole / 1e9, "GB", "derived")
    yield Figure(
        section, f"at most per host, of {planned.hosts}", planned.host / 1e9, "GB", "derived"
    )
    if (least := roofline.seconds) is None:
        return
    name = f"copied at {COPY_BANDWIDTH / 1e9:g} GB/s per host, while the loop waits"
    yield Figure(section, name, planned.blocked, "s", "assumed")
    name = f"whole at {STORE_BANDWIDTH / 1e9:g} GB/s per host, after"
    yield Figure(section, name, planned.written, "s", "assumed")
    for hours in FAILURES:
        steps = planned.steps_between(max(least.values()), hours)
        name = f"checkpoint_every, with a failure per {hours} hours"
        yield Figure(section, name, steps, "steps", "assumed")
