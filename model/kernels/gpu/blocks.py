"""How attention is cut into blocks on a GPU: sizes, grids and operands.

Arrays are [batch length heads head]. A thread block holds one tile of queries of one head and
passes over the keys in tiles, or the other way round. Tiles of queries (or keys) are the fastest
dimension of the grid, so that the thread blocks of a head run together and read its keys from the
cache.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from model.kernels.cost import Operand
from model.kernels.inputs import Inputs

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
        of_queries = self.tile if over_keys else self.whole
        of_keys = self.whole if over_keys else self.tile
        numbers = self.numbers(self.queries), self.numbers(self.keys)
        parts = of_queries(self.queries, dtype), of_keys(self.keys, dtype)
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
