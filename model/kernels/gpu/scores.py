"""What all passes on a GPU compute of a tile: loads, scores with their bias, and masks."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Bool, Float, Int

from model.kernels.gpu.blocks import TILE, GpuBlocks
from model.kernels.inputs import Inputs


def positions(tile) -> jax.Array:
    """Returns the positions of a tile."""
    return tile * TILE + jnp.arange(TILE)


def load(reference, tile, length: int, head: int, first=0) -> Float[Array, "tile columns"]:
    """Returns a tile of an array, with zeros where it lies outside.

    Args:
        reference: a reference to one tile, or to all.
        tile: number of the tile.
        length, head: sizes of the array.
        first: row of the reference where the tile begins.
    """
    inside = _inside(tile, length, head, reference.shape[-1])
    return plgpu.load(reference.at[pl.ds(first, TILE), :], mask=inside, other=0.0)


def store(reference, tile, length: int, head: int, found: Float[Array, "tile columns"]) -> None:
    """Writes a tile, without what lies outside of the array."""
    inside = _inside(tile, length, head, reference.shape[-1])
    plgpu.store(reference, found.astype(reference.dtype), mask=inside)


def load_row(reference, tile, length: int, other, first=0) -> jax.Array:
    """Returns a tile of numbers per position, with `other` outside of the array."""
    row = reference.at[pl.ds(first, TILE)]
    return plgpu.load(row, mask=positions(tile) < length, other=other)


def scores(inputs: Inputs, query, keys, tiles, blocks: GpuBlocks) -> Float[Array, "queries keys"]:
    """Returns the scores of a tile of queries and one of keys with their bias, before masking."""
    found = plgpu.dot(query, keys.T)
    biases: Any = inputs.biases
    if biases is None:
        return found
    first = blocks.query_tiles * TILE - 1
    return found + plgpu.load(biases.at[offsets(tiles) + first])


def offsets(tiles) -> Int[Array, "queries keys"]:
    """Returns key position minus query position of a tile of scores."""
    query_tile, key_tile = tiles
    return positions(key_tile)[None, :] - positions(query_tile)[:, None]


def masked(found, value, tiles, inputs: Inputs, blocks: GpuBlocks, *, causal: bool):
    """Returns scores with `value` where they are masked, and -inf beyond the last key."""
    query_tile, key_tile = tiles
    if inputs.key_numbers is not None:
        keys = load_row(inputs.key_numbers, key_tile, blocks.keys, 0, key_tile * TILE)
        queries = 0
        if inputs.query_numbers is not None:
            numbers = inputs.query_numbers
            queries = load_row(numbers, query_tile, blocks.queries, 0, query_tile * TILE)[:, None]
        found = jnp.where(keys[None, :] == queries, found, value)
    if causal:
        found = jnp.where(offsets(tiles) <= 0, found, value)
    return jnp.where((positions(key_tile) < blocks.keys)[None, :], found, -jnp.inf)


def _inside(tile, length: int, head: int, columns: int) -> Bool[Array, "tile columns"]:
    inside = (positions(tile) < length)[:, None]
    return inside & (jnp.arange(columns) < head)[None, :]
