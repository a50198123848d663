"""The table of a checkpoint: arrays by name with a fingerprint of each, made and compared."""

from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from model.checkpoints.errors import damaged
from model.checkpoints.fingerprints import fingerprints, mesh_replicated
from model.sharding.layouts import by_path

State = TypeVar("State", bound=PyTree)
FINGERPRINTS = ".fingerprints_by_position"
ARRAYS = ".arrays"  # before the names of a network's weights, in the table of a training state


def table_of(state: PyTree) -> dict[str, jax.Array]:
    """Returns a state as a checkpoint holds it: arrays by name, with a fingerprint of each."""
    named = by_path(state)
    return named | {FINGERPRINTS: fingerprints(list(named.values()), mesh_replicated(state))}


def requested_table(shapes: PyTree) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a checkpoint's table."""
    named, everywhere = by_path(shapes), mesh_replicated(shapes)
    sums = jax.ShapeDtypeStruct((len(named), 2), jnp.uint32, sharding=everywhere)
    return named | {FINGERPRINTS: sums}


def verified(
    directory: object,
    step: int,
    table: Mapping[str, jax.Array],
    shapes: State,
) -> State:
    """Returns the state in a table that was read; the arguments are those of `check_unaltered`.

    Raises:
        CheckpointError: if an array is not the one that was saved.
    """
    check_unaltered(directory, step, table, shapes)
    arrays = [table[name] for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), arrays)


def check_unaltered(
    directory: object,
    step: int,
    table: Mapping[str, jax.Array],
    shapes: PyTree,
) -> None:
    """Checks that the arrays of a table, all of a state or some, have their fingerprints.

    Args:
        directory: directory or address of the checkpoints, for messages.
        step: step of the checkpoint.
        table: arrays by name, and the fingerprints of all arrays of the state.
        shapes: structure of the state.

    Raises:
        CheckpointError: if an array is not the one that was saved.
    """
    numbers = {name: at for at, name in enumerate(by_path(shapes)) if name in table}
    found = fingerprints([table[name] for name in numbers], mesh_replicated(shapes))
    saved = np.asarray(table[FINGERPRINTS])[list(numbers.values())]
    altered = np.argwhere(np.asarray(found) != saved)
    if altered.size:
        raise damaged(directory, step, f"{list(numbers)[altered[0][0]]} is not what was saved")


def with_shardings(shapes: State, shardings: PyTree) -> State:
    """Returns the shapes with their shardings."""
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )
