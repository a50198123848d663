"""Tiles of attention on a GPU: sizes, grids and operands; loads, scores with their bias, masks.

Arrays are [batch length heads head]. A thread block holds one tile of queries of one head and
passes over the keys in tiles, or the other way round. Tiles of queries (or keys) are the fastest
dimension of the grid, so that the thread blocks of a head run together and read its keys from the
cache.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Bool, Float, Int

from model.kernels.arguments import Inputs, Operand

TILE = 64  # queries or keys of a tile
NARROWEST = 16  # columns that a tensor core multiplies


@dataclass(frozen=True)
class GpuBlocks:
    """Sizes of one attention.

    Attributes:
        batch, queries, keys: sizes of the arrays.
        heads, head: number of heads, and width of one.
        skips: whether tiles of later keys are left out, as causality masks them wholly.
    """

    batch: int
    queries: int
    keys: int
    heads: int
    head: int
    skips: bool

    @property
    def columns(self) -> int:
        """Columns of a tile: `head`, rounded up to a power of 2."""
        return max(NARROWEST, 1 << (self.head - 1).bit_length())

    @property
    def query_tiles(self) -> int:
        """Tiles of queries."""
        return -(-self.queries // TILE)

    @property
    def key_tiles(self) -> int:
        """Tiles of keys."""
        return -(-self.keys // TILE)

    @property
    def query_grid(self) -> tuple[int, int, int]:
        """Tiles of queries, heads, rows of the batch."""
        return self.query_tiles, self.heads, self.batch

    @property
    def key_grid(self) -> tuple[int, int, int]:
        """Tiles of keys, heads, rows of the batch."""
        return self.key_tiles, self.heads, self.batch

    @property
    def offsets(self) -> Int[np.ndarray, " offsets"]:
        """Key position minus query position of each number in the vector of biases."""
        return np.arange(1 - self.query_tiles * TILE, self.key_tiles * TILE)

    @property
    def scores(self) -> int:
        """Scores that are computed, padding included."""
        pairs = (
            min(tile + 1, self.key_tiles) if self.skips else self.key_tiles
            for tile in range(self.query_tiles)
        )
        return self.batch * self.heads * sum(pairs) * TILE**2

    def tile(self, length: int, dtype) -> Operand:
        """Returns the operand of which a thread block holds one tile."""
        shape = (self.batch, length, self.heads, self.head)
        block = (None, TILE, None, self.columns)
        return Operand(jax.ShapeDtypeStruct(shape, dtype), block, lambda i, h, b: (b, i, h, 0))

    def whole(self, length: int, dtype) -> Operand:
        """Returns the operand over which a thread block passes."""
        shape = (self.batch, length, self.heads, self.head)
        block = (None, -(-length // TILE) * TILE, None, self.columns)
        return Operand(jax.ShapeDtypeStruct(shape, dtype), block, lambda i, h, b: (b, 0, h, 0))

    @property
    def statistics(self) -> Operand:
        """The operand of a number per query and head, one tile of it."""
        array = jax.ShapeDtypeStruct((self.batch, self.heads, self.queries), jnp.float32)
        return Operand(array, (None, None, TILE), lambda i, h, b: (b, h, i))

    @property
    def all_statistics(self) -> Operand:
        """The operand of a number per query and head, over which a thread block passes."""
        array = jax.ShapeDtypeStruct((self.batch, self.heads, self.queries), jnp.float32)
        block = (None, None, self.query_tiles * TILE)
        return Operand(array, block, lambda i, h, b: (b, h, 0))

    def numbers(self, length: int) -> Operand:
        """Returns the operand of example numbers."""
        array = jax.ShapeDtypeStruct((self.batch, length), jnp.int32)
        return Operand(array, (None, -(-length // TILE) * TILE), lambda i, h, b: (b, 0))

    @property
    def biases(self) -> Operand:
        """The operand of the biases by offset."""
        array = jax.ShapeDtypeStruct((self.heads, len(self.offsets)), jnp.float32)
        return Operand(array, (None, len(self.offsets)), lambda i, h, b: (h, 0))

    def operands(self, inputs: Inputs, passes_over: Literal["keys", "queries"]) -> Inputs:
        """Returns how the arrays are cut for a kernel that passes over keys, or queries."""
        dtype, over_keys = inputs.query.dtype, passes_over == "keys"
        query_operand = self.tile if over_keys else self.whole
        key_operand = self.whole if over_keys else self.tile
        numbers = self.numbers(self.queries), self.numbers(self.keys)
        parts = query_operand(self.queries, dtype), key_operand(self.keys, dtype)
        return inputs.cut(*parts, self.biases, *numbers)

    def segments(self, count: int) -> Operand:
        """Returns the operand of the first and last offset of each segment of equal bias."""
        array = jax.ShapeDtypeStruct((2, count), jnp.int32)
        return Operand(array, (2, count), lambda i, h, b: (0, 0))

    def segment_sums(self, count: int) -> Operand:
        """Returns the operand of the gradient's sum over each segment, per tile of queries."""
        shape = (self.batch, self.heads, self.query_tiles, count)
        block = (None, None, None, count)
        return Operand(
            jax.ShapeDtypeStruct(shape, jnp.float32), block, lambda i, h, b: (b, h, i, 0)
        )


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


def store(reference, tile, length: int, head: int, values: Float[Array, "tile columns"]) -> None:
    """Writes a tile, without what lies outside of the array."""
    inside = _inside(tile, length, head, reference.shape[-1])
    plgpu.store(reference, values.astype(reference.dtype), mask=inside)


def load_row(reference, tile, length: int, other, first=0) -> jax.Array:
    """Returns a tile of numbers per position, with `other` outside of the array."""
    row = reference.at[pl.ds(first, TILE)]
    return plgpu.load(row, mask=positions(tile) < length, other=other)


def scores(inputs: Inputs, query, keys, tiles, blocks: GpuBlocks) -> Float[Array, "queries keys"]:
    """Returns the scores of a tile of queries and one of keys with their bias, before masking."""
    products = plgpu.dot(query, keys.T)
    biases: Any = inputs.biases
    if biases is None:
        return products
    first = blocks.query_tiles * TILE - 1
    return products + plgpu.load(biases.at[offsets(tiles) + first])


def offsets(tiles) -> Int[Array, "queries keys"]:
    """Returns key position minus query position of a tile of scores."""
    query_tile, key_tile = tiles
    return positions(key_tile)[None, :] - positions(query_tile)[:, None]


def mask_scores(scores, value, tiles, inputs: Inputs, blocks: GpuBlocks, *, causal: bool):
    """Returns scores with `value` where they are masked, and -inf beyond the last key."""
    query_tile, key_tile = tiles
    if inputs.key_numbers is not None:
        keys = load_row(inputs.key_numbers, key_tile, blocks.keys, 0, key_tile * TILE)
        queries = 0
        if inputs.query_numbers is not None:
            numbers = inputs.query_numbers
            queries = load_row(numbers, query_tile, blocks.queries, 0, query_tile * TILE)[:, None]
        scores = jnp.where(keys[None, :] == queries, scores, value)
    if causal:
        scores = jnp.where(offsets(tiles) <= 0, scores, value)
    return jnp.where((positions(key_tile) < blocks.keys)[None, :], scores, -jnp.inf)


def _inside(tile, length: int, head: int, columns: int) -> Bool[Array, "tile columns"]:
    inside = (positions(tile) < length)[:, None]
    return inside & (jnp.arange(columns) < head)[None, :]
