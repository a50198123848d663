"""Whether a recipe fits its mesh and its devices, and the choice of a mesh for a number of devices.

Sizes must divide over the mesh, and a lower bound of the memory must fit the devices. Both are
computed from shapes alone. The lower bound is that of the training step (parameters, moments,
gradients, activations, one chunk of logits), which scoring never exceeds. All other buffers depend
on the compiler, whose numbers `mswitch plan` prints.

A mesh is chosen to train or to read a run. First the `model` axis is as small as possible, as
splitting matrices costs reductions in every layer. Then the `expert` axis is as large as possible:
an expert's shard stays on its devices, while parameters sharded over `data` are gathered at each
use. The remaining devices are the `data` axis, which is divided evenly among the recipe's slices,
so dispatched tokens never leave their slice unless the recipe has experts across slices. Heads,
groups and rows must divide, as `pretrain` checks before it starts.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from model.config import ConfigurationError, MeshShape, ModelConfig
from model.memory import bytes_per_device, parameter_bytes
from model.sharding.mesh import abstract_mesh, check_fit
from pipeline.recipe.overrides import settings_between
from pipeline.recipe.recipe import Recipe

CGROUP = Path("/sys/fs/cgroup/memory.max")  # of version 2, as a container sees its own
GIB = 2**30
FILLED = 0.8  # of a device's memory by the least bytes of an advised change: others come on top


def check_sizes(recipe: Recipe) -> None:
    """Checks that sizes divide over the mesh and then, as memory depends on it, that they fit.

    Raises:
        ConfigurationError: if a size does not divide, or a device would need more than it has.
    """
    check_divides(recipe)
    check_memory(recipe)


def check_divides(recipe: Recipe) -> None:
    """Checks rows, groups, experts and widths against the mesh; its devices need not exist.

    Raises:
        ConfigurationError: if a size does not divide, the message names every such size; or if
            slices are not equal parts of the mesh.
    """
    mesh = abstract_mesh(recipe.mesh)
    if recipe.rows % recipe.accumulate:
        raise ConfigurationError(
            f"A batch of {recipe.rows} rows cannot be computed in accumulate={recipe.accumulate} "
            "equal parts; choose a number that divides it."
        )
    _check_pools(recipe)
    _check_batch_loss(recipe)
    rows = recipe.rows // recipe.accumulate
    check_fit(recipe.model, mesh, rows, recipe.lengths.inputs, recipe.lengths.targets)


def _check_pools(recipe: Recipe) -> None:
    """Checks that a microbatch holds whole pools on each device.

    Raises:
        ConfigurationError: if a pool spans several devices and the batch has several microbatches.
            The mesh would decide which groups a microbatch holds, and so which tokens share
            capacity.
    """
    switch = recipe.model.switch
    if switch is None or recipe.accumulate == 1:
        return
    rows = recipe.rows // recipe.accumulate // (recipe.mesh.data * recipe.mesh.expert)
    for stack, length in (("encoder", recipe.lengths.inputs), ("decoder", recipe.lengths.targets)):
        routing = switch.routing(decoder=stack == "decoder", training=True)
        if routing.pooled_groups > 1 and rows * length < routing.pool_tokens:
            groups = rows * length // routing.group_tokens
            raise ConfigurationError(
                f"model.switch.{stack}_pooled_groups={routing.pooled_groups} was given with "
                f"accumulate={recipe.accumulate}; a device's part of the batch has {groups} of "
                "these groups. Set accumulate=1, or pools that a device's part holds whole."
            )


def _check_batch_loss(recipe: Recipe) -> None:
    """Checks that a recipe with a balance loss over the whole batch has no microbatches.

    Raises:
        ConfigurationError: if it has. The gradient of each would need the loads of all.
    """
    switch = recipe.model.switch
    if switch is not None and switch.balance_loss_over == "batch" and recipe.accumulate > 1:
        raise ConfigurationError(
            "model.switch.balance_loss_over=batch was given with "
            f"accumulate={recipe.accumulate}; a part's gradient needs the loads of all parts. Set "
            "accumulate=1, or balance by model.switch.bias_rate or model.switch.quantile_rate, "
            "which parts do not change."
        )


def check_memory(recipe: Recipe, teacher: ModelConfig | None = None) -> None:
    """Checks that this machine's devices have the memory that the recipe needs at least.

    Args:
        recipe: the recipe.
        teacher: a network whose parameters lie beside it.

    Raises:
        ConfigurationError: if a device would need more than it has.
    """
    device = jax.local_devices()[0]
    has = memory_bytes(device)
    if has is None:
        return
    # Simulated devices share this machine's memory.
    devices = len(jax.local_devices()) if device.platform == "cpu" else 1
    beside = 0 if teacher is None else parameter_bytes(teacher, recipe.mesh)
    needs = least_memory(recipe) + beside
    if needs * devices > has:
        changed = with_less_memory(recipe, int(FILLED * has / devices) - beside, teacher)
        if changed is None:
            state = least_memory(replace(recipe, rows=1, accumulate=1, remat="full")) + beside
            of = "teacher" if beside * devices > has else "recipe"
            remedy = f"{state * devices / GIB:.1f} GiB without any text: take a smaller {of}"
        else:
            settings = " ".join(settings_between(recipe, changed))
            least = least_memory(changed) + beside
            remedy = f"--set {settings} needs {least * devices / GIB:.1f} at least"
        raise ConfigurationError(
            f"{recipe.name} needs at least {needs * devices / GIB:.1f} GiB on "
            f"{f'{devices} devices of ' if devices > 1 else ''}{device.device_kind} (parameters, "
            f"moments, gradients, activations, loss{', a teacher' if beside else ''}), which has "
            f"{has / GIB:.1f} GiB; {remedy}"
            f"{'' if device.platform == 'cpu' else ', or use more devices'}."
        )


def with_less_memory(
    recipe: Recipe, room: int, teacher: ModelConfig | None = None
) -> Recipe | None:
    """Returns the recipe with the first change by which its least memory fits; None for no change.

    Rematerialization and microbatches, which come first, change no result. Without the former the
    least memory is far from what a step needs, so there is no advice without it.
    """
    parts = _divisors(recipe.rows // recipe.accumulate)
    full = replace(recipe, remat="full")
    changes = [replace(full, accumulate=n * recipe.accumulate) for n in parts]
    changes += [replace(full, rows=recipe.rows // n) for n in parts]
    for change in changes:
        with contextlib.suppress(ConfigurationError):
            check_divides(change)
            if teacher is not None:
                check_divides(taught_by(change, teacher))
            if change != recipe and least_memory(change) <= room:
                return change
    return None


def taught_by(recipe: Recipe, teacher: ModelConfig) -> Recipe:
    """Returns a student's recipe with its teacher's network, whose routing groups batches fill.

    A teacher is not trained here, so its balance loss over whole batches, if it had one, does not
    rule out microbatches.
    """
    if teacher.switch is not None:
        teacher = replace(teacher, switch=replace(teacher.switch, balance_loss_over="group"))
    return replace(recipe, model=teacher)


def least_memory(recipe: Recipe) -> int:
    """Returns the least number of bytes that each device of the recipe's mesh needs."""
    return bytes_per_device(
        recipe.model,
        recipe.optimizer,
        recipe.mesh,
        rows=recipe.rows // recipe.accumulate,
        inputs=recipe.lengths.inputs,
        targets=recipe.lengths.targets,
        logits_bytes=recipe.logits_bytes,
        remat=recipe.remat,
        accumulates=recipe.accumulate > 1,
    )


def memory_bytes(device: Any) -> int | None:
    """Returns a device's memory, None if it is unknown; for a CPU, what this process may use."""
    if device.platform == "cpu":
        return usable_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")


def usable_bytes() -> int:
    """Returns the bytes of memory that this process can have at most."""
    whole, _ = machine_bytes()
    limit = container_bytes()
    return whole if limit is None else min(whole, limit)


def container_bytes() -> int | None:
    """Returns the bytes that this container may use; None without a limit."""
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return int(limit) if limit.isdigit() else None


def machine_bytes() -> tuple[int, int]:
    """Returns the bytes of memory of this machine, and how many of them are unused."""
    size = os.sysconf("SC_PAGE_SIZE")
    whole, free = (size * os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    return whole, free


def with_mesh(recipe: Recipe, devices: int) -> Recipe:
    """Returns the recipe with a mesh of all these devices.

    Raises:
        ConfigurationError: if there is none; the message names the sizes that do not divide.
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
    errors = []
    for shape in _shapes(recipe, devices):
        candidate = replace(recipe, mesh=shape)
        try:
            check_divides(candidate)
        except ConfigurationError as error:
            errors.append(str(error))
        else:
            return candidate
    spanned = (
        f"No number of its experts is a multiple of expert_slices={recipe.mesh.expert_slices}."
    )
    raise ConfigurationError(
        f"{recipe.name} fits no mesh of {devices} devices. {next(iter(errors), spanned)} "
        "Settings that help are in docs/launch.md, What must divide."
    )


def mesh_to_open_on(recipe: Recipe, devices: int) -> MeshShape:
    """Returns the mesh for reading a run on a number of devices.

    It is the mesh of the training if that has all these devices, which makes numbers bitwise equal
    (on GPUs with `--deterministic`), unless sizes divide over it only as several slices.
    Otherwise it has as many of the devices as the run's sizes divide over, at least one.

    Raises:
        ConfigurationError: if the sizes do not fit one device, which no trained run's do.
    """
    # Without training there are no microbatches, and no gradients between slices.
    read = replace(recipe, accumulate=1, mesh=replace(recipe.mesh, slices=1, expert_slices=1))
    if math.prod((read.mesh.data, read.mesh.expert, read.mesh.model)) == devices:
        with contextlib.suppress(ConfigurationError):
            check_divides(read)
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
            if expert % recipe.mesh.expert_slices == 0:
                data = shards // expert
                shape = replace(recipe.mesh, data=data, expert=expert, model=model)
                if data % shape.data_slices == 0:
                    yield shape


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
