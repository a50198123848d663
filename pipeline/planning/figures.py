"""The figures of a plan, each marked with its source: memory, work, time, slots, checkpoints.

* compiled: read from the program that XLA compiled for the topology.
* derived: computed from the recipe, the mesh and the papers' formulas.
* assumed: computed from published peak rates and perfect overlap; a run is slower.

Checkpoints have the interval that loses the least time. If saves are too rare, a failure repeats
much work; if they are too frequent, the saves themselves take the time. Source: Daly, "A higher
order estimate of the optimum checkpoint interval for restart dumps", 2006; its first term is
Young's formula of 1974. In that model a save stops the work until it ends. Here the work stops only
while arrays are copied, and the rest is written in the background. Background writing delays every
checkpoint alike, so it does not move the optimum, but the next save cannot begin before it ends.
Each host writes the shards of its own devices, and of equal shards the first device's. So the bytes
of a host follow from shapes and shardings alone.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import NamedSharding

from model.sharding.mesh import make_mesh
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.hlo.collectives import Collective, SliceTransfer
from pipeline.planning.roofline import Roofline
from pipeline.recipe.recipe import Recipe, step_flops
from pipeline.recipe.trainer import trainer_on

GIB = 2**30
STORE_BANDWIDTH = 1e9  # bytes per second that a host writes to a store; assumed
COPY_BANDWIDTH = 10e9  # bytes per second from a host's devices to its memory; assumed
FAILURES = (3, 8, 24)  # mean hours between two
Mark = Literal["compiled", "derived", "assumed"]


class Figure(NamedTuple):
    """One line of a plan.

    Attributes:
        section, name: section heading and name within it.
        value: number or text.
        unit: unit of a number, or empty.
        mark: source of the value.
    """

    section: str
    name: str
    value: float | str
    unit: str
    mark: Mark


def memory_figures(step: CompiledStep) -> Iterator[Figure]:
    """Yields the memory of a device by kind, in each program, and whether all fit."""
    section, memory = "memory per device", step.memory
    kinds: tuple[tuple[str, int, Mark], ...] = (
        ("parameters", memory.parameters, "derived"),
        ("optimizer state", memory.optimizer, "derived"),
        ("batch", memory.batch, "derived"),
        ("padding of these", memory.padding, "compiled"),
        ("activations kept for the backward pass", memory.kept, "compiled"),
        ("temporaries, gradients among them", memory.temporaries, "compiled"),
        ("program", memory.program, "compiled"),
        ("total", memory.total, "compiled"),
    )
    for name, size, mark in kinds:
        yield Figure(section, name, size / GIB, "GiB", mark)
    if (scoring := step.scoring) is not None:
        name = "while scoring: temporaries"
        yield Figure(section, name, scoring.temporaries / GIB, "GiB", "compiled")
        yield Figure(section, "while scoring: total", scoring.total / GIB, "GiB", "compiled")
    if (upcycling := step.upcycling) is not None:
        state = upcycling.parameters + upcycling.optimizer
        yield Figure(section, "while upcycling: dense run's state", state / GIB, "GiB", "derived")
        yield Figure(section, "while upcycling: total", upcycling.total / GIB, "GiB", "compiled")
    if step.topology.memory is not None:
        yield Figure(section, "available", step.topology.memory / GIB, "GiB", "compiled")
        yield Figure(section, "fits", "yes" if step.fits else "no", "", "compiled")


def work_figures(step: CompiledStep, roofline: Roofline) -> Iterator[Figure]:
    """Yields the work of a step: FLOPs, expert slots, memory traffic, bytes sent."""
    recipe, section = step.recipe, "work per step"
    executed = roofline.products.flops * len(step.topology.devices)
    yield Figure(section, "model FLOPs", step_flops(recipe), "FLOPs", "derived")
    yield Figure(section, "matrix FLOPs of the program, all devices", executed, "FLOPs", "compiled")
    yield Figure(section, "of these the model's", model_share(step, roofline), "", "derived")
    if expert := expert_slots(recipe):
        yield Figure(section, "slots", expert.slots, "", "derived")
        yield Figure(section, "slots wasted at least", expert.wasted, "", "derived")
    for name, calls in roofline.unknown_calls.items():
        yield Figure(section, f"not counted: calls of {name}", calls, "", "compiled")
    memory = roofline.traffic_bytes / 1e9
    yield Figure(section, "to and from main memory, per device", memory, "GB", "compiled")
    for sent in (roofline.collectives, roofline.slice_transfers):
        for name, size in bytes_sent(sent).items():
            yield Figure("sent per step, per device", name, size / 1e9, "GB", "compiled")


def model_share(step: CompiledStep, roofline: Roofline) -> float:
    """Returns the model's share of the program's FLOPs."""
    return step_flops(step.recipe) / (roofline.products.flops * len(step.topology.devices))


def bytes_sent(transfers: Sequence[Collective | SliceTransfer]) -> dict[str, float]:
    """Returns the bytes that a device sends per step, by name of the transfers."""
    sums: dict[str, float] = {}
    for transfer in transfers:
        size = transfer.executions * transfer.sent
        sums[transfer.name] = sums.get(transfer.name, 0) + size
    return dict(sorted(sums.items()))


class ExpertSlots(NamedTuple):
    """Expert slots of a step, over all switch layers.

    Attributes:
        slots: number of slots.
        assignments: number of (token, expert) assignments if every row is full.
    """

    slots: int
    assignments: int

    @property
    def wasted(self) -> float:
        """Share of slots that stays empty even if tokens are routed evenly."""
        return max(1 - self.assignments / self.slots, 0.0)


def expert_slots(recipe: Recipe) -> ExpertSlots | None:
    """Returns a step's expert slots; None for a dense or dropless recipe."""
    switch = recipe.model.switch
    if switch is None or switch.dispatch != "slots":
        return None
    slots = assignments = 0
    for decoder, length in ((False, recipe.lengths.inputs), (True, recipe.lengths.targets)):
        routing = switch.routing(decoder=decoder, training=True)
        tokens = recipe.rows * length
        slots += tokens // routing.pool_tokens * switch.experts * routing.capacity
        assignments += tokens * switch.choices
    layers = recipe.model.blocks
    return ExpertSlots(layers * slots, layers * assignments)


def time_figures(
    recipe: Recipe,
    least: dict[str, float] | None,
    hops: float,
    *,
    chips: int,
    peak: float,
    price: float,
    upcycled: bool = False,
) -> Iterator[Figure]:
    """Yields times and costs of a step; nothing where peak rates are unknown.

    Args:
        recipe: what is trained.
        least: least seconds of a step by resource.
        hops: time of the hops of all collectives.
        chips: number of chips, which are paid for.
        peak: FLOPs per second of all devices.
        price: money per chip-hour; 0 if unknown.
        upcycled: whether the recipe's steps count those of a dense run that it begins as.
    """
    if least is None:
        return
    section = "time, at best"
    for name, seconds in least.items():
        yield Figure(section, name, seconds, "s", "assumed")
    yield Figure(section, "hops of all collectives, without their bytes", hops, "s", "assumed")
    bound, binding = max((seconds, name) for name, seconds in least.items())
    useful = step_flops(recipe)
    tokens = recipe.rows * (recipe.lengths.inputs + recipe.lengths.targets)
    days = bound * recipe.steps / 86_400
    hours = days * 24 * chips
    yield Figure(section, "step, all of these overlapping", bound, "s", "assumed")
    yield Figure(section, "binding", binding, "", "assumed")
    yield Figure(section, "step, none overlapping", math.fsum(least.values()), "s", "assumed")
    yield Figure(section, "model FLOPs utilization", useful / bound / peak, "", "assumed")
    yield Figure(section, "tokens per second", tokens / bound, "", "assumed")
    begun = ", those of a dense run among them" if upcycled else ""
    yield Figure(section, f"{recipe.steps:,} steps{begun}", days, "days", "assumed")
    yield Figure(section, "chip-hours", hours, "", "assumed")
    if price:
        yield Figure(section, f"money at {price:g} per chip-hour", hours * price, "", "assumed")


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


def best_interval(blocked: float, written: float, between_failures: float) -> float:
    """Returns the seconds of work between the beginnings of two saves.

    Args:
        blocked: seconds for which a save holds up the work.
        written: seconds from the beginning of a save until its checkpoint is whole.
        between_failures: mean seconds between two failures.
    """
    if blocked >= 2 * between_failures:
        return max(between_failures, written)
    ratio = math.sqrt(blocked / (2 * between_failures))
    daly = math.sqrt(2 * blocked * between_failures) * (1 + ratio / 3 + ratio**2 / 9) - blocked
    return max(daly, written)
