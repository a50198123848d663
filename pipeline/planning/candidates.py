"""Ways to run a recipe: slice, mesh, rematerialization and microbatches, with their lower bounds.

A bound costs no compilation: the model's own FLOPs at the peak rate of all devices, and the memory
of parameters, moments and gradients (`model/memory.py`).
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from model.config import Remat
from model.configuration_checks import ConfigurationError
from model.flops import forward_flops_by_part
from model.sharding.mesh import MeshShape
from pipeline.recipe.fits import check_divides, least_memory
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.step_flops import step_flops

MICROBATCHES = (1, 2, 4, 8, 16)
MODEL_AXES = (1, 2, 4)  # devices that split a matrix; more pay for reductions in every layer


@dataclass(frozen=True)
class Slice:
    """Devices that can be rented together.

    Attributes:
        name: name of the topology, such as `v5p:2x2x4`.
        devices, chips: number of devices and of chips; a price is per chip.
        memory: bytes of a device available to a program.
        peak: FLOPs per second of one device.
    """

    name: str
    devices: int
    chips: int
    memory: int
    peak: float

    @property
    def generation(self) -> str:
        """Name of the kind of chip, by which prices are given."""
        return self.name.split(":")[0]


@dataclass(frozen=True)
class Candidate:
    """A recipe with its mesh on a slice.

    Attributes:
        slice: the devices.
        recipe: recipe with mesh, rematerialization and microbatches.
    """

    slice: Slice
    recipe: Recipe

    @property
    def settings(self) -> str:
        """Settings of `--set` that make the candidate of its recipe."""
        mesh = self.recipe.mesh
        axes = f"mesh.data={mesh.data} mesh.expert={mesh.expert} mesh.model={mesh.model}"
        return f"{axes} remat={self.recipe.remat} accumulate={self.recipe.accumulate}"

    @property
    def least_seconds(self) -> float:
        """Seconds per step that no program can beat."""
        return least_flops(self.recipe) / (self.slice.peak * self.slice.devices)

    @property
    def may_fit(self) -> bool:
        """False if parameters, moments and gradients alone exceed the memory."""
        return least_memory(self.recipe) <= self.slice.memory


def least_flops(recipe: Recipe) -> float:
    """Returns FLOPs of a step that no program can do without, over all devices.

    Under full remat a block's forward pass is computed again, but for its last product.
    """
    inputs, targets = recipe.lengths.inputs, recipe.lengths.targets
    useful = step_flops(recipe)
    if recipe.remat != "full":
        return useful
    parts = forward_flops_by_part(recipe.model, inputs, targets)
    matrices = 3 if recipe.model.feed_forward == "gated-gelu" else 2
    fed_forward = parts.feed_forward + parts.shared_experts
    again = parts.projections + parts.scores + fed_forward * (1 - 1 / matrices)
    return useful + recipe.rows * again


def chains(recipe: Recipe, on: Slice) -> Iterator[tuple[Candidate, ...]]:
    """Yields candidates that differ only in microbatches, fewest first, per mesh and remat.

    All divide and may fit.
    """
    for mesh in dict.fromkeys(_meshes(recipe, on.devices)):
        for remat in get_args(Remat):
            if remat == "exchanges" and (recipe.model.switch is None or mesh.expert == 1):
                continue  # nothing is exchanged
            if chain := tuple(_chain(replace(recipe, mesh=mesh, remat=remat), on)):
                yield chain


def _chain(recipe: Recipe, on: Slice) -> Iterator[Candidate]:
    for accumulate in MICROBATCHES:
        changed = replace(recipe, accumulate=accumulate)
        try:
            check_divides(changed)
        except ConfigurationError:
            continue
        if (candidate := Candidate(on, changed)).may_fit:
            yield candidate


def _meshes(recipe: Recipe, devices: int) -> Iterator[MeshShape]:
    """Yields meshes: the one that a plan chooses, and others of the same kinds of axes.

    Which of them divide depends on the microbatches, which are chosen too.
    """
    with contextlib.suppress(ConfigurationError):
        yield with_mesh(replace(recipe, accumulate=1), devices).mesh
    switch = recipe.model.switch
    for model in MODEL_AXES:
        if devices % model or recipe.model.heads % model:
            continue
        shards = devices // model
        expert = 1 if switch is None else math.gcd(shards, switch.experts)
        yield replace(recipe.mesh, data=shards // expert, expert=expert, model=model)
