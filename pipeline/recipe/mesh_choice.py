"""The choice of a recipe's mesh for a number of devices, to train or to read a run.

First the `model` axis is as small as possible, as splitting matrices costs reductions in every
layer. Then the `expert` axis is as large as possible: an expert's shard stays on its devices, while
parameters sharded over `data` are gathered at each use. The remaining devices are the `data` axis,
which is divided evenly among the recipe's slices, so dispatched tokens never leave their slice
unless the recipe has experts across slices. Heads, groups and rows must divide, as `pretrain`
checks before it starts.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

from model.config import ConfigurationError, MeshShape
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
    if slices % recipe.mesh.expert_slices:
        raise ConfigurationError(
            f"mesh.expert_slices={recipe.mesh.expert_slices} was asked of slices={slices}; choose "
            "a number that divides them."
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
    read = replace(recipe, accumulate=1, mesh=replace(recipe.mesh, slices=1, expert_slices=1))
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
    spanned = (
        f"No number of its experts is a multiple of expert_slices={recipe.mesh.expert_slices}."
    )
    return None, next(iter(errors), spanned)


def _shapes(recipe: Recipe, devices: int) -> Iterator[MeshShape]:
    switch = recipe.model.switch
    experts = 1 if switch is None else switch.experts
    for model in _divisors(math.gcd(devices, recipe.model.heads)):
        shards = devices // model
        for expert in reversed(_divisors(math.gcd(shards, experts))):
            if expert % recipe.mesh.expert_slices == 0:
                data = shards // expert
                shape = replace(recipe.mesh, data=data, expert=expert, model=model)
                if data % shape.data_slices == 0:
                    yield shape


def _offer(recipe: Recipe, devices: int) -> str:
    """Returns a sentence with the smallest change that gives the recipe a mesh, or nothing."""
    for change, changed in changes(recipe):
        if _search(changed, devices)[0]:
            return f" It fits one with --set {change}."
    return ""


def changes(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yields smaller routing groups, then larger batches, each with its settings.

    Where groups are split, proportionally more of them are pooled, so the same tokens share
    capacity. Pools stay as they are with microbatches, which cannot have larger ones, and with
    dropless dispatch, which has no capacity.
    """
    if recipe.model.switch is not None:
        for parts in (2, 4, 8, 16, 32):
            for stacks in (("decoder",), ("encoder", "decoder")):
                if change := _smaller_groups(recipe, parts, stacks):
                    settings = " ".join(f"model.switch.{name}={n}" for name, n in change.items())
                    switch = replace(recipe.model.switch, **change)
                    yield settings, replace(recipe, model=replace(recipe.model, switch=switch))
    for times in (2, 4, 8, 16, 32):
        yield f"rows={recipe.rows * times}", replace(recipe, rows=recipe.rows * times)


def _smaller_groups(recipe: Recipe, parts: int, stacks: tuple[str, ...]) -> dict[str, int]:
    """Returns settings that split groups into equal parts; {} if a stack's cannot be split so.

    A decoder's group consists of whole rows.
    """
    switch = recipe.model.switch
    assert switch is not None
    pools = recipe.accumulate == 1 and switch.dispatch == "slots"
    fields = {}
    for stack in stacks:
        routing = switch.routing(decoder=stack == "decoder", training=True)
        tokens, pooled = routing.group_tokens, routing.pooled_groups
        length = recipe.lengths.targets if stack == "decoder" else 1
        if tokens % (parts * length):
            return {}
        fields[f"{stack}_group_tokens"] = tokens // parts
        if pools:
            fields[f"{stack}_pooled_groups"] = pooled * parts
    return fields


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
