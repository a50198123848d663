"""Times of whole training steps at the batch that fits, beside the plan's bound, and a profile.

The batch is found from the memory of compiled steps, not by running out of it. Rows are random ids
without padding, so every row is full, as a plan assumes.
"""

import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.profile_summary import events_of, kinds_of, summary
from model.batch import Batch
from model.sharding.layouts import batch_sharding
from model.sharding.mesh import make_mesh
from model.trainer import Trainer
from model.transformer import parameter_count, transformer_shapes
from pipeline.hardware.peaks import peak_flops
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.hlo.program import parse
from pipeline.planning.roofline import roofline
from pipeline.planning.topology import Topology
from pipeline.recipe.recipe import Recipe, step_flops
from pipeline.recipe.trainer import trainer_on

WARM, TRACED = 2, 3
BYTES_PER_PARAMETER = 12  # float32, with a gradient and an update


def fitting(recipes: Iterable[Recipe], devices: Topology) -> CompiledStep:
    """Returns the first recipe that fits, compiled.

    Raises:
        ValueError: if none does.
    """
    for recipe in recipes:
        if not weights_fit(recipe, devices):
            continue
        step = compile_step(recipe, devices)
        print(f"  {size_of(recipe)}: {'fits' if step.fits else 'does not fit'}", flush=True)
        if step.fits:
            return step
    raise ValueError(f"No size of the recipe fits {devices.kind}; add smaller ones to sizes.py.")


def weights_fit(recipe: Recipe, devices: Topology) -> bool:
    """Returns whether weights, gradients and updates fit, which needs no compilation."""
    if devices.memory is None:
        return True
    size = parameter_count(transformer_shapes(recipe.model)) * BYTES_PER_PARAMETER
    return size < devices.memory * len(devices.devices)


def size_of(recipe: Recipe) -> str:
    """Returns a recipe's name, experts and rows, in words."""
    switch = recipe.model.switch
    experts = "" if switch is None else f" of {switch.experts} experts"
    return f"{recipe.name}{experts}, {recipe.rows} rows"


def measured(step: CompiledStep, timed: int, directory: Path) -> dict[str, Any]:
    """Returns a step's time, MFU, bound and profile.

    Args:
        step: the step as planned.
        timed: number of steps to time.
        directory: directory for the profile.
    """
    recipe, devices = step.recipe, step.topology
    trainer = trainer_of(recipe, devices)
    state, batch = trainer.init(), random_batch(recipe, trainer)
    assert isinstance(trainer.step, jax.stages.Wrapped)
    run = trainer.step.lower(state, batch).compile()
    seconds = []
    for number in range(WARM + timed + TRACED):
        if number == WARM + timed:
            jax.profiler.start_trace(str(directory))
        begun = time.perf_counter()
        state, metrics = run(state, batch)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - begun)
    jax.profiler.stop_trace()
    kinds = kinds_of(parse(run.as_text() or ""))
    taken = statistics.median(seconds[WARM : WARM + timed])
    return {
        "recipe": size_of(recipe),
        "rows": recipe.rows,
        "parameters": parameter_count(trainer.shapes),
        "remat": recipe.remat,
        "mesh": vars(recipe.mesh),
        "planned_gibibytes": step.memory.total / 2**30,
        "seconds": taken,
        "seconds_low_high": [min(seconds[WARM : WARM + timed]), max(seconds[WARM : WARM + timed])],
        "loss_is_finite": not bool(metrics.skipped),
        "profile": summary(events_of(directory), kinds)._asdict(),
    } | beside_bound(step, taken)


def beside_bound(step: CompiledStep, seconds: float) -> dict[str, Any]:
    """Returns MFU as measured and at most, by the plan; nothing where peak rates are unknown."""
    recipe, devices = step.recipe, step.topology
    useful = step_flops(recipe)
    peak = peak_flops(devices.kind)
    if peak is None or step.program is None:
        return {}
    peak *= len(devices.devices)
    found = {"mfu": useful / seconds / peak}
    if (times := roofline(step, step.program).seconds) is None:
        return found
    bound, name = max((value, name) for name, value in times.items())
    return found | {"mfu_at_most": useful / bound / peak, "bound_seconds": bound, "bound_by": name}


def trainer_of(recipe: Recipe, devices: Topology) -> Trainer:
    """Returns the trainer that `pretrain` would use."""
    return trainer_on(recipe, make_mesh(recipe.mesh, devices.devices))


def random_batch(recipe: Recipe, trainer: Trainer) -> Batch:
    """Returns full rows of random ids on the trainer's devices."""
    generator, lengths = np.random.default_rng(0), recipe.lengths
    inputs, targets = (
        generator.integers(3, recipe.model.vocabulary_rows, (recipe.rows, length), np.int32)
        for length in (lengths.inputs, lengths.targets)
    )
    batch = Batch(
        inputs=jnp.asarray(inputs),
        targets=jnp.asarray(targets),
        language=jnp.zeros(recipe.rows, jnp.int32),
    )
    return jax.device_put(batch, batch_sharding(trainer.mesh))
