"""Checks that a recipe's sizes divide over its mesh, and that a lower bound of its memory fits.

Both are computed from shapes alone. The lower bound is that of the training step (parameters,
moments, gradients, one chunk of logits), which scoring never exceeds. All other buffers depend on
the compiler, whose numbers `mswitch plan` prints.
"""

from typing import Any

import jax

from model.config import ConfigurationError
from model.memory import bytes_per_device
from model.sharding.mesh import abstract_mesh, check_fit
from pipeline.machine_memory import usable_bytes
from pipeline.recipe.recipe import Recipe

GIB = 2**30


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


def check_memory(recipe: Recipe) -> None:
    """Checks that this machine's devices have the memory that the recipe needs at least.

    Raises:
        ConfigurationError: if a device would need more than it has.
    """
    device = jax.local_devices()[0]
    has = memory_bytes(device)
    if has is None:
        return
    # Simulated devices share this machine's memory.
    devices = len(jax.local_devices()) if device.platform == "cpu" else 1
    needs = least_memory(recipe)
    if needs * devices > has:
        more = "" if device.platform == "cpu" else "use more devices, "
        raise ConfigurationError(
            f"{recipe.name} needs at least {needs * devices / GIB:.1f} GiB on "
            f"{f'{devices} devices of ' if devices > 1 else ''}{device.device_kind} (parameters, "
            f"moments, gradients, loss), which has {has / GIB:.1f} GiB; {more}"
            "raise accumulate, or lower rows."
        )


def least_memory(recipe: Recipe) -> int:
    """Returns the least number of bytes that each device of the recipe's mesh needs."""
    return bytes_per_device(
        recipe.model,
        recipe.optimizer,
        recipe.mesh,
        rows=recipe.rows // recipe.accumulate,
        targets=recipe.lengths.targets,
        logits_bytes=recipe.logits_bytes,
    )


def memory_bytes(device: Any) -> int | None:
    """Returns a device's memory, None if it is unknown; for a CPU, what this process may use."""
    if device.platform == "cpu":
        return usable_bytes()
    return (device.memory_stats() or {}).get("bytes_limit")
