"""What would make a recipe fit, found by compiling it: cheaper changes first.

None of them changes what is learned but the optimizer's: fewer bytes kept (`remat`), a batch in
parts (`accumulate`), more devices to the experts, Adafactor's factored moments, a larger slice.
What cannot fit, because parameters, moments and gradients alone exceed the memory, is not compiled.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from model.config import ConfigurationError
from pipeline.errors import ArtifactError
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.topology import LARGEST, Topology, topology
from pipeline.recipe.fits import check_divides, least_memory
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.recipe import Recipe

PARTS = (2, 4, 8, 16)


class Remedy(NamedTuple):
    """A change that was tried.

    Attributes:
        change: as it would be asked for.
        step: what the compiler made of it.
    """

    change: str
    step: CompiledStep


def remedies(step: CompiledStep) -> Iterator[Remedy]:
    """Yields changes as they are tried, until one fits."""
    for change, recipe, devices in _tries(step.recipe, step.topology):
        if not _may_fit(recipe, devices):
            continue
        tried = compile_step(recipe, devices)
        yield Remedy(change, tried)
        if tried.fits:
            return


def _tries(recipe: Recipe, devices: Topology) -> Iterator[tuple[str, Recipe, Topology]]:
    for change, changed in _on_the_same_slice(recipe, len(devices.devices)):
        yield change, changed, devices
    for name in larger(devices.name):
        try:
            wider = topology(name, devices.slices)
            changed = with_mesh(replace(recipe, remat="full"), len(wider.devices))
        except (ArtifactError, ConfigurationError):
            continue
        yield f"--topology {name} --set remat=full", changed, wider


def _on_the_same_slice(recipe: Recipe, devices: int) -> Iterator[tuple[str, Recipe]]:
    moved = with_mesh(recipe, devices)
    if moved.mesh.expert > recipe.mesh.expert:
        yield f"--set mesh.expert={moved.mesh.expert} mesh.data={moved.mesh.data}", moved
    for remat in ("exchanges", "full") if recipe.model.switch else ("full",):
        if recipe.remat not in (remat, "full"):
            yield f"--set remat={remat}", replace(recipe, remat=remat)
    if recipe.optimizer.rule == "adamw":
        rule = replace(recipe.optimizer, rule="adafactor", weight_decay=0.0)
        changed = replace(recipe, remat="full", optimizer=rule)
        yield "--set remat=full optimizer.rule=adafactor", changed
    for parts in PARTS:
        changed = replace(recipe, remat="full", accumulate=recipe.accumulate * parts)
        try:
            check_divides(changed)
        except ConfigurationError:
            continue
        yield f"--set remat=full accumulate={changed.accumulate}", changed


def larger(name: str) -> Iterator[str]:
    """Yields names of slices of twice and four times as many chips, and so on."""
    generation, _, sizes = name.partition(":")
    shape = [int(size) for size in sizes.split("x")]
    while True:
        shape[shape.index(min(shape))] *= 2
        shape.sort()
        if math.prod(shape) > LARGEST.get(generation, 0):
            return
        yield f"{generation}:{'x'.join(map(str, shape))}"


def _may_fit(recipe: Recipe, devices: Topology) -> bool:
    return devices.memory is None or least_memory(recipe) <= devices.memory
