"""Fingerprints of arrays, which tell that an array read from disk is not the one that was written.

Each element's bits are mixed with its position, and the results are added modulo 2^32. A sum does
not depend on the order of adding, so every device adds its own part and the fingerprint is the same
on any mesh. The mixing is the finalizer of MurmurHash3 (fmix32; Appleby 2011), a permutation of
32-bit numbers in which every bit depends on every bit. Two sums of unrelated mixings are 64 bits:
a damage of any kind is missed with a probability of about 2^-64.
"""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, PyTree, Shaped, UInt32

from model.sharding.layouts import replicated

# The fraction of pi. Far apart, so that no number of a row is mixed as that of a column.
SEEDS = ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344))
# Smaller arrays are stacked by shape. With a kernel for each of the 271 arrays
# in a small Switch's state, the program took 3.1 CPU-seconds to compile; now it takes 0.6.
SMALL = 4096


def mesh_replicated(tree: PyTree) -> NamedSharding:
    """Returns the sharding that puts a whole array on each device of a tree's mesh."""
    return replicated(jax.tree.leaves(tree)[0].sharding.mesh)


def fingerprint(tree: PyTree) -> str:
    """Returns a fingerprint of a model's arrays, 64 hexadecimal digits."""
    return _digest(fingerprints(jax.tree.leaves(tree), mesh_replicated(tree)))


def _digest(numbers: UInt32[Array, "..."]) -> str:
    return hashlib.sha256(np.asarray(numbers).astype("<u4").tobytes()).hexdigest()


@functools.partial(jax.jit, static_argnames="sharding")
def fingerprints(
    leaves: list[Shaped[Array, "..."]], sharding: NamedSharding
) -> UInt32[Array, "leaves 2"]:
    """Returns the fingerprint of each array, the same on any mesh."""
    alike: dict[object, list[int]] = {}
    for number, leaf in enumerate(leaves):
        key = (leaf.shape, leaf.dtype) if leaf.size <= SMALL else number
        alike.setdefault(key, []).append(number)
    sums = [_of_all([leaves[number] for number in numbers]) for numbers in alike.values()]
    in_order = np.argsort([number for numbers in alike.values() for number in numbers])
    return jax.lax.with_sharding_constraint(jnp.concatenate(sums)[in_order], sharding)


def _of_all(leaves: list[Shaped[Array, "..."]]) -> UInt32[Array, "leaves 2"]:
    """Returns the sums of arrays of one shape; those of one alone are not stacked."""
    return _sums(leaves[0])[None] if len(leaves) == 1 else jax.vmap(_sums)(jnp.stack(leaves))


def _words(leaf: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """Returns each element's bits as a number; those of 64 bits as two numbers."""
    bits = min(8 * leaf.dtype.itemsize, 32)
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{bits}")).astype(jnp.uint32)


@jax.jit  # traced and lowered once per shape: 271 arrays of a small Switch's state have 16
def _sums(leaf: Shaped[Array, "..."]) -> UInt32[Array, "2"]:
    words = jnp.atleast_1d(_words(leaf))
    row, column = _positions(words.shape)
    keys = [_mixed(row + jnp.uint32(r)) + _mixed(column + jnp.uint32(c)) for r, c in SEEDS]
    return jnp.stack([jnp.sum(_mixed(words ^ key), dtype=jnp.uint32) for key in keys])


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


def _mixed(numbers: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    numbers = (numbers ^ (numbers >> 16)) * jnp.uint32(0x85EBCA6B)
    numbers = (numbers ^ (numbers >> 13)) * jnp.uint32(0xC2B2AE35)
    return numbers ^ (numbers >> 16)
