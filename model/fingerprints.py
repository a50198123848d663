"""Fingerprints: a state as the table of a checkpoint, with numbers by which damage is noticed.

`pipeline/runs/checkpoints.py` stores and reads the tables.

A fingerprint mixes each element's bits with its position, and adds the results modulo 2^32. A sum
does not depend on the order of adding, so every device adds its own part and the fingerprint is the
same on any mesh. The mixing is the finalizer of MurmurHash3 (fmix32; Appleby 2011), a permutation
of 32-bit numbers in which every bit depends on every bit. Two sums of unrelated mixings are 64
bits: a damage of any kind is missed with a probability of about 2^-64.
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, PyTree, Shaped, UInt32

from model.mixing import FINGERPRINTS, host_fingerprint, mix, position_keys
from model.sharding.layouts import by_path, replicated_layout

State = TypeVar("State", bound=PyTree)
# Smaller arrays are stacked by shape. With a kernel for each of the 271 arrays
# in a small Switch's state, the program took 3.1 CPU-seconds to compile; now it takes 0.6.
SMALL = 4096
FEW = 2**24  # elements, which NumPy mixes in about a second


def checkpoint_table(state: PyTree) -> dict[str, jax.Array]:
    """Returns a state as a checkpoint holds it: arrays by name, with a fingerprint of each."""
    arrays = by_path(state)
    return arrays | {FINGERPRINTS: fingerprints(list(arrays.values()), mesh_replicated(state))}


def checkpoint_table_shapes(shapes: PyTree) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a checkpoint's table, from those of the state."""
    arrays = by_path(shapes)
    sums = jax.ShapeDtypeStruct((len(arrays), 2), jnp.uint32, sharding=mesh_replicated(shapes))
    return arrays | {FINGERPRINTS: sums}


def state_of_table(table: Mapping[str, jax.Array], shapes: State) -> State:
    """Returns the state of this structure in a checkpoint's table."""
    arrays = [table[name] for name in by_path(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), arrays)


def altered_array(table: Mapping[str, jax.Array], shapes: PyTree) -> str | None:
    """Returns the name of the first array of a table that is not the one that was saved.

    Args:
        table: arrays by name, all of a state or some, and the fingerprints of all.
        shapes: structure of the state.
    """
    positions = {name: at for at, name in enumerate(by_path(shapes)) if name in table}
    arrays = [table[name] for name in positions]
    if are_few_on_one_cpu(arrays):
        here = np.stack([host_fingerprint(np.asarray(array)) for array in arrays])
    else:
        here = fingerprints(arrays, mesh_replicated(shapes))
    saved = np.asarray(table[FINGERPRINTS])[list(positions.values())]
    altered = np.flatnonzero(np.any(np.asarray(here) != saved, axis=1))
    return list(positions)[altered[0]] if altered.size else None


def are_few_on_one_cpu(arrays: list[jax.Array]) -> bool:
    """Returns whether NumPy mixes arrays in less time than a program for them takes to compile."""
    devices = {device for array in arrays for device in array.devices()}
    on_one_cpu = len(devices) == 1 and next(iter(devices)).platform == "cpu"
    return on_one_cpu and sum(array.size for array in arrays) <= FEW


def mesh_replicated(tree: PyTree) -> NamedSharding:
    """Returns the sharding that puts a whole array on each device of a tree's mesh."""
    return replicated_layout(jax.tree.leaves(tree)[0].sharding.mesh)


def fingerprint(tree: PyTree) -> str:
    """Returns a fingerprint of a model's arrays, 64 hexadecimal digits."""
    numbers = fingerprints(jax.tree.leaves(tree), mesh_replicated(tree))
    return hashlib.sha256(np.asarray(numbers).astype("<u4").tobytes()).hexdigest()


@functools.partial(jax.jit, static_argnames="sharding")
def fingerprints(
    leaves: list[Shaped[Array, "..."]], sharding: NamedSharding
) -> UInt32[Array, "leaves 2"]:
    """Returns the fingerprint of each array, the same on any mesh."""
    groups: dict[object, list[int]] = {}
    for number, leaf in enumerate(leaves):
        key = (leaf.shape, leaf.dtype) if leaf.size <= SMALL else number
        groups.setdefault(key, []).append(number)
    sums = [_group_sums([leaves[number] for number in numbers]) for numbers in groups.values()]
    in_order = np.argsort([number for numbers in groups.values() for number in numbers])
    return jax.lax.with_sharding_constraint(jnp.concatenate(sums)[in_order], sharding)


def _group_sums(leaves: list[Shaped[Array, "..."]]) -> UInt32[Array, "leaves 2"]:
    """Returns the sums of arrays of one shape; a single array is not stacked."""
    return _sums(leaves[0])[None] if len(leaves) == 1 else jax.vmap(_sums)(jnp.stack(leaves))


@jax.jit  # traced and lowered once per shape: 271 arrays of a small Switch's state have 16
def _sums(leaf: Shaped[Array, "..."]) -> UInt32[Array, "2"]:
    words = jnp.atleast_1d(_words(leaf))
    row, column = _positions(words.shape)
    keys = position_keys(row, column)
    return jnp.stack([jnp.sum(mix(words ^ key), dtype=jnp.uint32) for key in keys])


def _words(leaf: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """Returns each element's bits as a number; those of 64 bits as two numbers."""
    bits = min(8 * leaf.dtype.itemsize, 32)
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{bits}")).astype(jnp.uint32)


def _positions(
    shape: tuple[int, ...],
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Returns the number of each row and of each column, in shapes that broadcast together.

    An array may have more than 2^32 elements, but not as many rows or columns.
    """
    *leading, columns = shape
    row = jnp.zeros((*leading, 1), jnp.uint32)
    for dimension, size in enumerate(leading):
        index = jax.lax.broadcasted_iota(jnp.uint32, row.shape, dimension)
        row = row * jnp.uint32(size) + index
    last = (*(1 for _ in leading), columns)
    return row, jax.lax.broadcasted_iota(jnp.uint32, last, len(leading))
