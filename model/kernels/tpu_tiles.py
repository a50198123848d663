"""Tiles of attention on a TPU: sizes, grid and operands; scores of a block, and the band of biases.

Arrays are [batch length width] with all heads side by side, as the projections write them. A block
takes 128 lanes of it, which is two heads of 64: nothing is transposed. Where heads do not fill the
last block, it ends outside the arrays: its further heads are computed from zeros and not written.

The grid is (block of heads, row, block of queries). A step holds the keys and values of its heads
whole, and scores with keys down and queries across. Then softmax reduces over sublanes, statistics
per query are rows of lanes, and only arrays of `head` columns are ever transposed.

Heads are outermost because the bias and its gradient are the same for all rows: they stay in
memory while the rows pass.

The bias of a block of scores is a Toeplitz matrix. All blocks of queries of a head are windows of
one band, each shifted by a whole number of rows. The band is filled once per head: in each of its
squares every row is the one above it, rotated by one lane. Its gradient is rotated back and summed.
With offset = key - query, and query c of block i being query i * rows + c:

    band[r, c]  = the bias at offset r - c - (query_blocks - 1) * rows
    key k of query block i is row r = (query_blocks - 1 - i) * rows + k     (`window`)
    biases[j]   = the bias at offset (chunks + 1 - query_blocks) * rows - j (`TpuBlocks.offsets`)
    band[r, c]  = biases[chunks * rows - r + c]                             (`fill`)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float, Int

from model.kernels.arguments import Inputs, Operand

LANES, SUBLANES = 128, 8
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


class KeyRange(NamedTuple):
    """Consecutive keys of a block, without the rows outside the arrays.

    Attributes:
        first: position of the first key.
        keys, values: of all heads of the block.
        allowed: which scores are not masked; None if all.
        exists: which scores belong to a key; None if all.
    """

    first: int
    keys: Float[Array, "part width"]
    values: Float[Array, "part width"]
    allowed: Bool[Array, "part rows"] | None
    exists: Bool[Array, "part rows"] | None

    @property
    def rows(self):
        """Rows of an array of all keys that are this part's."""
        return pl.ds(self.first, len(self.keys))

    def mask(self, scores, value) -> Float[Array, "part rows"]:
        """Returns scores with `value` where they are masked, and -inf beyond the last key."""
        if self.allowed is not None:
            scores = jnp.where(self.allowed, scores, value)
        return scores if self.exists is None else jnp.where(self.exists, scores, -jnp.inf)


def parts(inputs, blocks: TpuBlocks, causal: bool) -> list[KeyRange]:
    """Returns the keys of this grid step, from references to its blocks."""
    column = _key_numbers(inputs, blocks)
    key_parts = []
    for first in range(0, blocks.columns, blocks.tile.part):
        size = min(blocks.tile.part, blocks.columns - first)
        key = first + jax.lax.broadcasted_iota(jnp.int32, (size, blocks.rows), 0)
        padded = first + size > blocks.keys
        rows = pl.ds(first, size)
        numbers = None if column is None else column[first : first + size]
        part = KeyRange(
            first,
            _inside(inputs.keys[0, rows, :], blocks.keys - first, padded, blocks),
            _inside(inputs.values[0, rows, :], blocks.keys - first, padded, blocks),
            _allowed_scores(inputs, numbers, key, blocks, causal),
            key < blocks.keys if padded else None,
        )
        key_parts.append(part)
    return key_parts


def inside_queries(block, blocks: TpuBlocks):
    """Returns a block of queries with zeros in its rows and lanes outside the array."""
    limit = blocks.queries - pl.program_id(2) * blocks.rows
    return _inside(block, limit, blocks.query_blocks * blocks.rows > blocks.queries, blocks)


def _inside(block, limit, is_padded: bool, blocks: TpuBlocks):
    if is_padded:
        block = _zero_from(block, limit, 0)
    if blocks.head_blocks * blocks.together > blocks.heads:
        width = blocks.heads * blocks.head
        block = _zero_from(block, width - pl.program_id(0) * blocks.width, 1)
    return block


def _zero_from(block, limit, dimension: int):
    """Returns a block with zeros from `limit` on: what lies outside an array may be NaN."""
    position = jax.lax.broadcasted_iota(jnp.int32, block.shape, dimension)
    return jnp.where(position < limit, block, jnp.zeros_like(block))


def head_lanes(block: Float[Array, "rows width"], number: int, head: int):
    """Returns a block with zeros in the lanes of all heads but one.

    A product over all lanes then takes no longer than one over `head` lanes, and moves none.
    """
    if block.shape[1] == head:
        return block
    lanes = jax.lax.broadcasted_iota(jnp.int32, block.shape, 1)
    own = (lanes >= number * head) & (lanes < (number + 1) * head)
    return jnp.where(own, block, jnp.zeros_like(block))


def product(left, right, over: tuple[int, int]) -> Float[Array, "m n"]:
    """Returns a matrix product over one dimension of each, summed in float32."""
    dimensions = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)


def scores(
    part: KeyRange, query, number: int, band, blocks: TpuBlocks
) -> Float[Array, "part rows"]:
    """Returns the scores of one head with their bias, before masking."""
    products = product(part.keys, query, (1, 1))
    return products if band is None else products + band[number, window(part, blocks), :]


def window(part: KeyRange, blocks: TpuBlocks):
    """Returns the rows of the band that belong to this block of queries and these keys."""
    last = blocks.query_blocks - 1
    start = (last - pl.program_id(2)) * blocks.rows + part.first
    return pl.ds(pl.multiple_of(start, LANES), len(part.keys))


def fill(band, biases, blocks: TpuBlocks) -> None:
    """Writes the biases of all heads of a block, by offset, into their bands."""
    rows, chunks = blocks.rows, blocks.chunks
    for number in range(blocks.together):
        for chunk in range(chunks):
            middle = (chunks - chunk) * rows
            ahead = biases[0, pl.ds(number, 1), pl.ds(middle, rows)]
            behind = biases[0, pl.ds(number, 1), pl.ds(middle - rows, rows)]
            # Row i of a square is row 0 rotated right by i, as the index falls by one per row.
            square = _rotated_copies(jnp.concatenate([ahead, behind], axis=1), rows)
            band[number, pl.ds(chunk * rows, rows), :] = square[:, :rows]


def sum_diagonals(band, gradient, blocks: TpuBlocks) -> None:
    """Writes the sums over each offset of the bands of all heads of a block."""
    rows, chunks = blocks.rows, blocks.chunks
    gradient[...] = jnp.zeros_like(gradient)
    for number in range(blocks.together):
        for chunk in range(chunks):
            square = band[number, pl.ds(chunk * rows, rows), :]
            wide = jnp.concatenate([square, jnp.zeros_like(square)], axis=1)
            sums = _sum_rotated_back(wide)
            middle = (chunks - chunk) * rows
            gradient[0, pl.ds(number, 1), pl.ds(middle, rows)] += sums[:, :rows]
            gradient[0, pl.ds(number, 1), pl.ds(middle - rows, rows)] += sums[:, rows:]


def _rotated_copies(row: Float[Array, "1 lanes"], rows: int) -> Float[Array, "rows lanes"]:
    """Returns copies of a row, the i-th rotated by i lanes: each rotation doubles the rows."""
    rotated = jnp.broadcast_to(row, (SUBLANES, row.shape[1]))
    for power in (1, 2, 4):
        rotated = jnp.where(_has(power, rotated), pltpu.roll(rotated, power, 1), rotated)
    while len(rotated) < rows:
        rotated = jnp.concatenate([rotated, pltpu.roll(rotated, len(rotated), 1)], axis=0)
    return rotated


def _sum_rotated_back(square: Float[Array, "rows lanes"]) -> Float[Array, "1 lanes"]:
    """Returns the sum of the rows, the i-th rotated back by i lanes."""
    while (half := len(square) // 2) >= SUBLANES:
        back = square.shape[1] - half
        square = square[:half] + pltpu.roll(square[half:], back, 1)
    for power in (1, 2, 4):
        back = square.shape[1] - power
        square = jnp.where(_has(power, square), pltpu.roll(square, back, 1), square)
    return jnp.sum(square, axis=0, keepdims=True)


def _has(power: int, rows: Float[Array, "8 lanes"]) -> Bool[Array, "8 lanes"]:
    return (jax.lax.broadcasted_iota(jnp.int32, rows.shape, 0) & power) != 0


def _key_numbers(inputs, blocks: TpuBlocks):
    if inputs.key_numbers is None:
        return None
    row = jnp.broadcast_to(inputs.key_numbers[0], (SUBLANES, blocks.columns))
    return jnp.transpose(row)[:, :1]


def _allowed_scores(inputs, column, key, blocks: TpuBlocks, causal: bool):
    allowed = None
    if column is not None:
        number = 0 if inputs.query_numbers is None else inputs.query_numbers[0]
        allowed = jnp.broadcast_to(column, key.shape) == number
    if causal:
        query = pl.program_id(2) * blocks.rows
        earlier = key <= query + jax.lax.broadcasted_iota(jnp.int32, key.shape, 1)
        allowed = earlier if allowed is None else allowed & earlier
    return allowed
