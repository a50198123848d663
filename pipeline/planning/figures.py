"""The figures of a plan, each marked with its source.

* compiled: read from the program that XLA compiled for the topology.
* derived: computed from the recipe, the mesh and the papers' formulas.
* assumed: computed from published peak rates and perfect overlap; a run is slower.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pipeline.planning.between_slices import SliceTransfer
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.expert_slots import expert_slots
from pipeline.planning.hlo.collectives import Collective
from pipeline.planning.roofline import Roofline
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.step_flops import step_flops

Mark = Literal["compiled", "derived", "assumed"]
GIB = 2**30


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
    devices = len(step.topology.devices)
    useful = step_flops(recipe)
    done = roofline.products.flops * devices
    yield Figure(section, "model FLOPs", useful, "FLOPs", "derived")
    yield Figure(section, "matrix FLOPs of the program, all devices", done, "FLOPs", "compiled")
    yield Figure(section, "of these the model's", useful / done, "", "derived")
    if found := expert_slots(recipe):
        yield Figure(section, "slots", found.slots, "", "derived")
        yield Figure(section, "slots wasted at least", found.wasted, "", "derived")
    for name, calls in roofline.unknown_calls.items():
        yield Figure(section, f"not counted: calls of {name}", calls, "", "compiled")
    memory = roofline.traffic_bytes / 1e9
    yield Figure(section, "to and from main memory, per device", memory, "GB", "compiled")
    for name, size in link_bytes(roofline.collectives).items():
        yield Figure("sent per step, per device", name, size / 1e9, "GB", "compiled")
    for name, size in network_bytes(roofline.slice_transfers).items():
        yield Figure("sent per step, per device", name, size / 1e9, "GB", "compiled")


def network_bytes(slice_transfers: list[SliceTransfer]) -> dict[str, float]:
    """Returns the bytes that a device sends to other slices per step, by kind."""
    sums: Counter[str] = Counter()
    for one in slice_transfers:
        sums[f"{one.kind} between slices"] += one.executions * one.sent  # pyright: ignore[reportArgumentType]
    return dict(sorted(sums.items()))


def link_bytes(collectives: list[Collective]) -> dict[str, float]:
    """Returns the bytes that a device sends over links per step, by kind, origin and axes."""
    sums: Counter[str] = Counter()
    for one in collectives:
        name = f"{one.kind} of {one.origin} over {' x '.join(one.axes)}"
        sums[name] += one.executions * one.sent  # pyright: ignore[reportArgumentType]
    return dict(sorted(sums.items()))


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
