"""Which mesh a recipe gets on so many devices where none was named, to train or to read a run.

The recipe says how many slices there are; each has a part of the data axis, so that tokens on their
way to an expert never leave theirs. As few parts of a matrix as possible (`model`), for each costs
a reduction a layer; then as many devices as possible to the experts, for what an expert axis splits
is split for good, while what the data axis splits is gathered for every use; the rest is `data`.
Heads, groups and rows must divide, as `pretrain` checks before it starts.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

from model.config import ConfigurationError
from model.sharding import MeshShape
from pipeline.recipe.fits import check_divides
from pipeline.recipe.recipe import Recipe


def with_mesh(recipe: Recipe, devices: int) -> Recipe:
    """Returns the recipe with a mesh of all these devices.

    Raises:
        ConfigurationError: there is none; the message names what stands in the way, and a change
            that was found by trying.
    """
    slices = recipe.mesh.slices
    if devices % slices:
        raise ConfigurationError(
            f"mesh.slices={slices} was asked of {devices} devices; slices have as many each, so "
            "choose a number that divides them."
        )
    refusals = []
    for shape in _shapes(recipe, devices):
        candidate = replace(recipe, mesh=shape)
        try:
            check_divides(candidate)
        except ConfigurationError as error:
            refusals.append(str(error))
        else:
            return candidate
    raise ConfigurationError(
        f"{recipe.name} fits no mesh of {devices} devices. {refusals[0]}{_offer(recipe, devices)}"
    )


def mesh_to_open_on(recipe: Recipe, devices: int) -> MeshShape:
    """Returns the mesh for reading a run where there are so many devices.

    It is the one that the run was trained on if that takes all of them: numbers are then the same
    to the bit. Else it has as many of them as the run's sizes divide among, and one in any case.

    Raises:
        ConfigurationError: the sizes do not even fit one device, as no run's do.
    """
    # Nothing is trained: a batch is computed whole, and no gradients cross between slices.
    read = replace(recipe, accumulate=1, mesh=replace(recipe.mesh, slices=1))
    if math.prod((read.mesh.data, read.mesh.expert, read.mesh.model)) == devices:
        return read.mesh
    for count in range(devices, 1, -1):
        with contextlib.suppress(ConfigurationError):
            return with_mesh(read, count).mesh
    return with_mesh(read, 1).mesh


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
    """Returns a sentence on the smallest change that lets the recipe have a mesh, if one does."""
    for change, changed in changes(recipe):
        for shape in _shapes(changed, devices):
            try:
                check_divides(replace(changed, mesh=shape))
            except ConfigurationError:
                continue
            return f" It would with --set {change}."
    return ""


def changes(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yields smaller groups, then larger batches, each with the settings that make it."""
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
