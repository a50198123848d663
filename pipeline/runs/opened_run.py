"""A run opened for reading: its network and the weights of a checkpoint, on any devices.

The mesh is that of training if it takes all devices here, otherwise one that the sizes of the
network divide among. Routing groups come from the recipe, so the numbers are equal up to rounding
on any mesh, and bitwise on the same mesh (of GPUs with `--deterministic`). The experts that pruning
drops may be left out.

All hosts must see the checkpoint. NFS shows a host its directories as they were up to a minute ago.
A host that lacks a checkpoint there would take another way through the program than the rest, or
call a whole one damaged.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from data.files.paths import Place
from model import SLOPED_STEPS_SINCE
from model.conversions.pruning import expert_axes, merged_arrays, pruned_arrays, stack_rows
from model.mixing import ARRAYS
from model.sharding.layouts import by_path, with_shardings
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import Trainer
from model.transformer import Transformer
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import agree_on, on_first_host
from pipeline.recipe.fits import mesh_to_open_on
from pipeline.recipe.recipe import Recipe, recipe_from_json
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoint_errors import CheckpointError
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.directory import RECIPE, RunRecord, find_run, requested_step, saved_steps

VIEW_SECONDS = 90.0  # NFS keeps a directory's attributes for 60 s unless mounted otherwise
LOOK_SECONDS = 0.5


def wait_until_seen(directory: Place) -> None:
    """Waits until every host sees the same checkpoints of a run.

    Every host must call this.

    Raises:
        ArtifactError: if they do not within `VIEW_SECONDS`.
    """
    missing = _missing(directory)
    for _ in range(math.ceil(VIEW_SECONDS / LOOK_SECONDS)):
        if not missing:
            return
        time.sleep(LOOK_SECONDS)
        missing = _missing(directory)
    raise ArtifactError(
        f"Checkpoint {missing[-1]} of {directory} is there for some hosts, and others did not see "
        f"it for {VIEW_SECONDS:.0f} s; give all hosts the same directory on one file system, and "
        "the same command goes on."
    )


def _missing(directory: Place) -> list[int]:
    """Returns the checkpoints that some hosts see and not all.

    All look anew each time: a run that still trains deletes its old ones.
    """

    def missing(views: Sequence[list[int]]) -> list[int]:
        return sorted(set().union(*views) - set(views[0]).intersection(*views))

    return agree_on(saved_steps(directory), missing)


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
            f"sizes divide over {used} of them; open it on hosts that have {used} in all."
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
    with _checkpoint(directory, step) as (checkpoints, restored_step):
        arrays = checkpoints.restore_some(restored_step, shapes, names)
        in_order = [arrays[name] for name in names]
        return jax.tree.unflatten(jax.tree.structure(shapes.arrays), in_order), restored_step


def restore_state(directory: Place, trainer: Trainer, step: int | None) -> tuple[TrainState, int]:
    """Returns the state of a checkpoint (the best or the last for None) and its step.

    Raises:
        ArtifactError: if there is no such checkpoint, or a host does not see it.
    """
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    with _checkpoint(directory, step) as (checkpoints, restored_step):
        return checkpoints.restore(restored_step, shapes), restored_step


@contextlib.contextmanager
def _checkpoint(directory: Place, step: int | None) -> Iterator[tuple[Checkpoints, int]]:
    """Opens a run's checkpoints with the step of the requested one."""
    wait_until_seen(directory)
    checkpoints = Checkpoints(directory / "checkpoints")
    try:
        yield checkpoints, on_first_host(lambda: requested_step(directory, step))
    except CheckpointError as error:
        raise ArtifactError(str(error)) from error
    finally:
        checkpoints.close()


def read_pruned(
    run: Place,
    trainer: Trainer,
    step: int,
    kept: Int[np.ndarray, "layers kept"] | None,
    load: Float[np.ndarray, "layers experts"] | None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of the pruned network by name, each read when its turn comes.

    Args:
        run: run to prune.
        trainer: its functions.
        step: step of its checkpoint.
        kept: experts of each layer that stay, the encoder's layers before the decoder's; None for
            all.
        load: use of each expert, to merge dropped experts by; None to leave them out.

    Raises:
        CheckpointError: if the checkpoint is damaged.
    """
    axes = {} if kept is None else expert_axes(trainer.shapes)
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    checkpoints = Checkpoints(run / "checkpoints")
    try:
        for names in _read_together(trainer.shapes, axes, merging=load is not None):
            name_of = {ARRAYS + name: name for name in names}
            read = checkpoints.restore_some(step, shapes, name_of)
            arrays = {name_of[name]: np.asarray(array) for name, array in read.items()}
            if kept is None:
                yield from arrays.items()
            elif load is None or names[0] not in axes:
                yield from pruned_arrays(arrays, axes, kept).items()
            else:
                layers = stack_rows(kept, names[0]), stack_rows(load, names[0])
                yield from merged_arrays(arrays, *layers).items()
    finally:
        checkpoints.close()


def _read_together(
    shapes: Transformer, axes: dict[str, int], *, merging: bool
) -> Iterator[list[str]]:
    """Yields the names of arrays to read at one time: each alone.

    To merge experts, all arrays of a stack's experts are read together; their names differ only
    after the last dot.
    """
    groups: dict[str, list[str]] = {}
    for name in by_path(shapes):
        group = name.rpartition(".")[0] if merging and name in axes else name
        groups.setdefault(group, []).append(name)
    yield from groups.values()
