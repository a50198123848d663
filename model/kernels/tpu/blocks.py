"""How attention is cut into blocks on a TPU: sizes, grid, operands and the memory they take.

Arrays are [batch length width] with all heads side by side, as the projections write them. A block
takes 128 lanes of it, which is two heads of 64: nothing is transposed. Where heads do not fill the
last block, it ends outside the arrays: its further heads are computed from zeros and not written.

The grid is (block of heads, row, block of queries). A step holds the keys and values of its heads
whole, and scores with keys down and queries across. Then softmax reduces over sublanes, statistics
per query are rows of lanes, and only arrays of `head` columns are ever transposed.

Heads are outermost because the bias and its gradient are the same for all rows: they stay in
memory while the rows pass.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from model.kernels.cost import Operand
from model.kernels.inputs import Inputs

LANES = 128
MEMORY = 48 * 2**20  # bytes that a kernel may use; v5p and TPU7x have 64 MiB, v6e 128 MiB
OF_V4 = 16 * 2**20  # of each core of a v4, where a larger limit on a kernel changes nothing


class Tile(NamedTuple):
    """How one pass is cut.

    Attributes:
        rows: most queries of a block.
        part: keys whose scores are computed at a time.
        bands: bands that the pass holds, of biases and of their gradient.
    """

    rows: int
    part: int
    bands: int


# Cycles per query in the compiled schedules for 1,024 tokens: forward, 512 rows instead of 256 save
# 10 % (v5p) and 12 % (v6e); backward nothing and 4 %, and compiling takes twice as long. Parts of
# 256 keys are fastest forward; backward, parts of 512 cost 2 % more (v5p) and save 15 % (v6e).
FORWARD = Tile(rows=512, part=256, bands=1)
BACKWARD = Tile(rows=256, part=512, bands=2)


@dataclass(frozen=True)
class TpuBlocks:
    """Sizes of one attention.

    Attributes:
        batch, queries, keys: sizes of the arrays.
        heads, head: number of heads, and width of one.
        item: bytes of a number of queries, keys and values.
        tile: how the pass is cut.
    """

    batch: int
    queries: int
    keys: int
    heads: int
    head: int
    item: int
    tile: Tile

    @property
    def width(self) -> int:
        """Lanes of a block: whole heads, and a multiple of 128 unless it takes all heads."""
        if LANES % self.head == 0 and self.head * self.heads > LANES:
            return LANES
        return self.head if self.head % LANES == 0 else self.head * self.heads

    @property
    def together(self) -> int:
        """Heads of a block."""
        return self.width // self.head

    @property
    def head_blocks(self) -> int:
        """Blocks of heads."""
        return -(-self.heads // self.together)

    @property
    def rows(self) -> int:
        """Queries of a block: fewer than the tile's where that leaves less padding."""
        least = LANES if self.queries <= LANES else 2 * LANES
        padded = -(-self.queries // least) * least
        return self.tile.rows if padded % self.tile.rows == 0 else least

    @property
    def columns(self) -> int:
        """Keys of a block: all, rounded up to lanes."""
        return -(-self.keys // LANES) * LANES

    @property
    def query_blocks(self) -> int:
        """Blocks of queries."""
        return -(-self.queries // self.rows)

    @property
    def chunks(self) -> int:
        """Squares of `rows x rows` in the band of biases that all blocks of queries share."""
        return -(-(self.columns + (self.query_blocks - 1) * self.rows) // self.rows)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks of heads, rows of the batch, blocks of queries."""
        return self.head_blocks, self.batch, self.query_blocks

    @property
    def offsets(self) -> Int[np.ndarray, " offsets"]:
        """Key position minus query position of each number in the vector of biases."""
        count = (self.chunks + 1) * self.rows
        return count - self.query_blocks * self.rows - np.arange(count)

    @property
    def scores(self) -> int:
        """Scores that are computed, padding included."""
        heads = self.head_blocks * self.together
        return heads * self.batch * self.query_blocks * self.rows * self.columns

    @property
    def memory(self) -> int:
        """Bytes that a pass holds: bands, all scores of a block, operands and sums."""
        band = self.together * self.chunks * self.rows**2 * 4
        scores = self.rows * self.columns * 4
        operands = (8 * self.columns + 8 * self.rows) * self.width * self.item
        return (
            self.tile.bands * band
            + self.together * scores
            + operands
            + 2 * self.columns * self.width * 4
        )

    def query_like(self, dtype) -> Operand:
        """Returns the operand of queries, outputs or their gradients."""
        shape = (self.batch, self.queries, self.heads * self.head)
        block = (1, self.rows, self.width)
        return Operand(jax.ShapeDtypeStruct(shape, dtype), block, lambda g, b, i: (b, i, g))

    def key_like(self, dtype) -> Operand:
        """Returns the operand of keys, values or their gradients."""
        shape = (self.batch, self.keys, self.heads * self.head)
        block = (1, self.columns, self.width)
        return Operand(jax.ShapeDtypeStruct(shape, dtype), block, lambda g, b, i: (b, 0, g))

    @property
    def query_numbers(self) -> Operand:
        """The operand of the queries' example numbers."""
        array = jax.ShapeDtypeStruct((self.batch, 1, self.queries), jnp.int32)
        return Operand(array, (1, 1, self.rows), lambda g, b, i: (b, 0, i))

    @property
    def key_numbers(self) -> Operand:
        """The operand of the keys' example numbers."""
        array = jax.ShapeDtypeStruct((self.batch, 1, self.keys), jnp.int32)
        return Operand(array, (1, 1, self.columns), lambda g, b, i: (b, 0, 0))

    @property
    def biases(self) -> Operand:
        """The operand of the biases by offset, or of their gradient."""
        shape = (self.grid[0], self.together, len(self.offsets))
        block = (1, *shape[1:])
        return Operand(jax.ShapeDtypeStruct(shape, jnp.float32), block, lambda g, b, i: (g, 0, 0))

    @property
    def statistics(self) -> Operand:
        """The operand of the logarithm of each query's sum of exponentials."""
        shape = (self.batch, self.grid[0], self.together, self.query_blocks * self.rows)
        block = (1, 1, self.together, self.rows)
        index = lambda g, b, i: (b, g, 0, i)  # noqa: E731
        return Operand(jax.ShapeDtypeStruct(shape, jnp.float32), block, index)

    def operands(self, inputs: Inputs) -> Inputs:
        """Returns how the arrays are cut into blocks."""
        dtype = inputs.query.dtype
        parts = self.query_like(dtype), self.key_like(dtype)
        return inputs.cut(*parts, self.biases, self.query_numbers, self.key_numbers)
