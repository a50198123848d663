"""A run opened for reading: its network and the weights of a checkpoint, on any devices.

The mesh is that of training if it takes all devices here, otherwise one that the sizes of the
network divide among. Routing groups come from the recipe, so the numbers are equal up to rounding
on any mesh, and bitwise on the same mesh (of GPUs with `--deterministic`).
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax

from data.files.paths import Place
from model import SLOPED_STEPS_SINCE
from model.checkpoints.errors import CheckpointError
from model.checkpoints.table import ARRAYS, with_shardings
from model.sharding.layouts import by_path
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import on_first_host
from pipeline.recipe.mesh_choice import mesh_to_open_on
from pipeline.recipe.recipe import Recipe, recipe_from_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.directory import RECIPE, find_run, requested_step
from pipeline.runs.record import RunRecord
from pipeline.runs.seen_by_all import wait_until_seen
from pipeline.runs.stored_checkpoints import AnyCheckpoints, open_checkpoints


def load_run(directory: Place) -> tuple[Recipe, Trainer]:
    """Returns a run's recipe and its functions, on the devices of this machine.

    Raises:
        ArtifactError: if the directory is not a run.
    """
    recipe = recipe_of(find_run(directory), directory)
    return recipe, trainer_here(recipe)


def recipe_of(about: RunRecord, directory: Place) -> Recipe:
    """Returns a run's recipe, with the network in which its weights were trained.

    Before numerics version 4 networks had no slope beside the learned biases, so the recipe of such
    a run is returned with a slope of 0.

    Args:
        about: the run's recipe.json.
        directory: the run's directory, for messages.

    Raises:
        DataError: if a value has the wrong type or range.
        ArtifactError: if a setting is unknown.
    """
    recipe = recipe_from_json(about.recipe, str(directory / RECIPE))
    if about.numerics_version >= SLOPED_STEPS_SINCE:
        return recipe
    return replace(recipe, model=replace(recipe.model, distance_slope=0.0))


def trainer_here(recipe: Recipe) -> Trainer:
    """Returns a recipe's functions on all devices; some of one host alone may stay idle.

    Raises:
        ArtifactError: if its sizes do not divide over the devices of several hosts.
    """
    devices, hosts = jax.devices(), jax.process_count()
    shape = mesh_to_open_on(recipe, len(devices))
    used = math.prod((shape.data, shape.expert, shape.model))
    if used < len(devices) and hosts > 1:
        raise ArtifactError(
            f"{recipe.name} was to be opened on {len(devices)} devices of {hosts} hosts, and its "
            f"sizes divide over {used} of them; give --hosts.count so that all devices are used."
        )
    return trainer_on(recipe, make_mesh(shape, devices[:used]))


def restore(directory: Place, trainer: Trainer, step: int | None) -> tuple[Any, int]:
    """Returns the weights of a checkpoint (the best or the last for None) and its step.

    Raises:
        ArtifactError: if there is no such checkpoint, or a host does not see it.
    """
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    # Without the optimizer's: with AdamW they are twice as many bytes as the weights.
    names = [name for name in by_path(shapes) if name.startswith(ARRAYS)]
    with _checkpoint(directory, step) as (checkpoints, found):
        arrays = checkpoints.restore_some(found, shapes, names)
        in_order = [arrays[name] for name in names]
        return jax.tree.unflatten(jax.tree.structure(shapes.arrays), in_order), found


def restore_state(directory: Place, trainer: Trainer, step: int | None) -> tuple[TrainState, int]:
    """Returns the state of a checkpoint (the best or the last for None) and its step.

    Raises:
        ArtifactError: if there is no such checkpoint, or a host does not see it.
    """
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    with _checkpoint(directory, step) as (checkpoints, found):
        return checkpoints.restore(found, shapes), found


@contextlib.contextmanager
def _checkpoint(directory: Place, step: int | None) -> Iterator[tuple[AnyCheckpoints, int]]:
    """Opens a run's checkpoints with the step of the requested one."""
    wait_until_seen(directory)
    checkpoints = open_checkpoints(directory / "checkpoints")
    try:
        yield checkpoints, on_first_host(lambda: requested_step(directory, step))
    except CheckpointError as error:
        raise ArtifactError(str(error)) from error
    finally:
        checkpoints.close()
