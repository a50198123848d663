"""The choice of a recipe's mesh for a number of devices, to train or to read a run.

First the `model` axis is as small as possible, as splitting matrices costs reductions in every
layer. Then the `expert` axis is as large as possible: an expert's shard stays on its devices, while
parameters sharded over `data` are gathered at each use. The remaining devices are the `data` axis,
which is divided evenly among the recipe's slices, so dispatched tokens never leave their slice.
Heads, groups and rows must divide, as `pretrain` checks before it starts.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

from model.config import ConfigurationError
from model.sharding.mesh import MeshShape
from pipeline.recipe.fits import check_divides
from pipeline.recipe.recipe import Recipe


def with_mesh(recipe: Recipe, devices: int) -> Recipe:
    """Returns the recipe with a mesh of all these devices.

    Raises:
        ConfigurationError: if there is none; the message names the sizes that do not divide, and a
            change that was found by trying.
    """
    slices = recipe.mesh.slices
    if devices % slices:
        raise ConfigurationError(
            f"mesh.slices={slices} was asked of {devices} devices; slices are equal, so choose a "
            "number that divides the devices."
        )
    found, refusal = _search(recipe, devices)
    if found is None:
        raise ConfigurationError(
            f"{recipe.name} fits no mesh of {devices} devices. {refusal}{_offer(recipe, devices)}"
        )
    return found


def mesh_to_open_on(recipe: Recipe, devices: int) -> MeshShape:
    """Returns the mesh for reading a run on a number of devices.

    It is the mesh of the training if that has all these devices, which makes numbers bitwise equal
    (on GPUs with `--deterministic`).
    Otherwise it has as many of the devices as the run's sizes divide over, at least one.

    Raises:
        ConfigurationError: if the sizes do not fit one device, which no trained run's do.
    """
    # Without training there are no microbatches, and no gradients between slices.
    read = replace(recipe, accumulate=1, mesh=replace(recipe.mesh, slices=1))
    if math.prod((read.mesh.data, read.mesh.expert, read.mesh.model)) == devices:
        return read.mesh
    for count in range(devices, 1, -1):
        with contextlib.suppress(ConfigurationError):
            return with_mesh(read, count).mesh
    return with_mesh(read, 1).mesh


def _search(recipe: Recipe, devices: int) -> tuple[Recipe | None, str]:
    """Returns the recipe with the first mesh that it divides over, or None and the first error."""
    errors = []
    for shape in _shapes(recipe, devices):
        candidate = replace(recipe, mesh=shape)
        try:
            check_divides(candidate)
        except ConfigurationError as error:
            errors.append(str(error))
        else:
            return candidate, ""
    return None, errors[0]


def _shapes(recipe: Recipe, devices: int) -> Iterator[MeshShape]:
    switch = recipe.model.switch
    experts = 1 if switch is None else switch.experts
    for model in _divisors(math.gcd(devices, recipe.model.heads)):
        shards = devices // model
        for expert in reversed(_divisors(math.gcd(shards, experts))):
            shape = MeshShape(
                data=shards // expert, expert=expert, model=model, slices=recipe.mesh.slices
            )
            if shape.data % shape.slices == 0:
                yield shape


def _offer(recipe: Recipe, devices: int) -> str:
    """Returns a sentence with the smallest change that gives the recipe a mesh, or nothing."""
    for change, changed in changes(recipe):
        if _search(changed, devices)[0]:
            return f" It fits one with --set {change}."
    return ""


def changes(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yields smaller routing groups, then larger batches, each with its settings."""
    switch = recipe.model.switch
    if switch is not None:
        for parts in (2, 4, 8, 16, 32):
            sizes = switch.encoder_group_tokens, switch.decoder_group_tokens
            for decoder_only in (True, False):
                encoder = sizes[0] if decoder_only else sizes[0] // parts
                decoder = sizes[1] // parts
                if decoder * parts == sizes[1] and decoder % recipe.lengths.targets == 0:
                    model = replace(
                        recipe.model,
                        switch=replace(
                            switch, encoder_group_tokens=encoder, decoder_group_tokens=decoder
                        ),
                    )
                    yield (
                        f"model.switch.encoder_group_tokens={encoder} "
                        f"model.switch.decoder_group_tokens={decoder}",
                        replace(recipe, model=model),
                    )
    for times in (2, 4, 8, 16, 32):
        yield f"rows={recipe.rows * times}", replace(recipe, rows=recipe.rows * times)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
