"""Changes that make a recipe fit into memory, found by compiling it, cheaper changes first.

They are: more devices for the experts, fewer kept activations (`remat`), Adafactor's factored
moments, microbatches (`accumulate`), a larger slice. Only the change of optimizer alters what a run
learns. A recipe whose parameters, moments and gradients alone exceed the memory is not compiled.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from model.config import ConfigurationError
from pipeline.errors import ArtifactError
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.topology import LARGEST, Topology, topology
from pipeline.recipe.fits import check_divides, least_memory
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.overrides import settings_between
from pipeline.recipe.recipe import Recipe

MICROBATCHES = (2, 4, 8, 16)


def remedies(step: CompiledStep) -> Iterator[tuple[str, CompiledStep]]:
    """Yields the options of each change after compiling the changed recipe, until one fits."""
    for change, recipe, devices in _tries(step.recipe, step.topology):
        if not _may_fit(recipe, devices):
            continue
        tried = compile_step(recipe, devices, step.dense)
        yield change, tried
        if tried.fits:
            return


def _tries(recipe: Recipe, devices: Topology) -> Iterator[tuple[str, Recipe, Topology]]:
    for changed in _on_the_same_slice(recipe, len(devices.devices)):
        settings = settings_between(recipe, changed)
        yield f"--set {' '.join(settings)}", changed, devices
    for name in larger(devices.name):
        try:
            wider = topology(name, devices.slices)
            changed = with_mesh(replace(recipe, remat="full"), len(wider.devices))
        except (ArtifactError, ConfigurationError):
            continue
        yield f"--topology {name} --set remat=full", changed, wider


def _on_the_same_slice(recipe: Recipe, devices: int) -> Iterator[Recipe]:
    moved = with_mesh(recipe, devices)
    if recipe.model.switch is not None and moved.mesh.expert > recipe.mesh.expert:
        yield moved
    for remat in ("exchanges", "full") if recipe.model.switch else ("full",):
        if recipe.remat not in (remat, "full"):
            yield replace(recipe, remat=remat)
    if recipe.optimizer.rule == "adamw":
        rule = replace(recipe.optimizer, rule="adafactor", weight_decay=0.0)
        yield replace(recipe, remat="full", optimizer=rule)
    for microbatches in MICROBATCHES:
        changed = replace(recipe, remat="full", accumulate=recipe.accumulate * microbatches)
        try:
            check_divides(changed)
        except ConfigurationError:
            continue
        yield changed


def larger(name: str) -> Iterator[str]:
    """Yields the names of slices with 2, 4, 8 and so on times as many chips."""
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
