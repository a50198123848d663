"""What both passes on a TPU compute of a block: scores, keys down and queries across, and the band.

The bias of a block of scores is a Toeplitz matrix. All blocks of queries of a head are windows of
one band, each shifted by a whole number of rows. The band is filled once per head: in each of its
squares every row is the one above it, rotated by one lane. Its gradient is rotated back and summed.
With offset = key - query, and query c of block i being query i * rows + c:

    band[r, c]  = the bias at offset r - c - (query_blocks - 1) * rows
    key k of query block i is row r = (query_blocks - 1 - i) * rows + k     (`window`)
    biases[j]   = the bias at offset (chunks + 1 - query_blocks) * rows - j (`TpuBlocks.offsets`)
    band[r, c]  = biases[chunks * rows - r + c]                             (`fill`)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float

from model.kernels.tpu.blocks import LANES, TpuBlocks

SUBLANES = 8


class Part(NamedTuple):
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

    def masked(self, found, value) -> Float[Array, "part rows"]:
        """Returns scores with `value` where they are masked, and -inf beyond the last key."""
        if self.allowed is not None:
            found = jnp.where(self.allowed, found, value)
        return found if self.exists is None else jnp.where(self.exists, found, -jnp.inf)


def parts(inputs, blocks: TpuBlocks, causal: bool) -> list[Part]:
    """Returns the keys of this grid step, from references to its blocks."""
    column = _key_numbers(inputs, blocks)
    found = []
    for first in range(0, blocks.columns, blocks.tile.part):
        size = min(blocks.tile.part, blocks.columns - first)
        key = first + jax.lax.broadcasted_iota(jnp.int32, (size, blocks.rows), 0)
        padded = first + size > blocks.keys
        rows = pl.ds(first, size)
        part = Part(
            first,
            _inside(inputs.keys[0, rows, :], blocks.keys - first, padded, blocks),
            _inside(inputs.values[0, rows, :], blocks.keys - first, padded, blocks),
            _allowed(
                inputs,
                None if column is None else column[first : first + size],
                key,
                blocks,
                causal,
            ),
            key < blocks.keys if padded else None,
        )
        found.append(part)
    return found


def inside_queries(block, blocks: TpuBlocks):
    """Returns a block of queries with zeros in its rows and lanes outside the array."""
    limit = blocks.queries - pl.program_id(2) * blocks.rows
    return _inside(block, limit, blocks.query_blocks * blocks.rows > blocks.queries, blocks)


def _inside(block, limit, is_padded: bool, blocks: TpuBlocks):
    if is_padded:
        block = _before(block, limit, 0)
    if blocks.head_blocks * blocks.together > blocks.heads:
        width = blocks.heads * blocks.head
        block = _before(block, width - pl.program_id(0) * blocks.width, 1)
    return block


def _before(block, limit, dimension: int):
    """Returns a block with zeros from `limit` on: what lies outside an array may be NaN."""
    position = jax.lax.broadcasted_iota(jnp.int32, block.shape, dimension)
    return jnp.where(position < limit, block, jnp.zeros_like(block))


def of_head(block: Float[Array, "rows width"], number: int, head: int):
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


def scores(part: Part, query, number: int, band, blocks: TpuBlocks) -> Float[Array, "part rows"]:
    """Returns the scores of one head with their bias, before masking."""
    found = product(part.keys, query, (1, 1))
    return found if band is None else found + band[number, window(part, blocks), :]


def window(part: Part, blocks: TpuBlocks):
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
            square = _rotated(jnp.concatenate([ahead, behind], axis=1), rows)
            band[number, pl.ds(chunk * rows, rows), :] = square[:, :rows]


def sum_diagonals(band, gradient, blocks: TpuBlocks) -> None:
    """Writes the sums over each offset of the bands of all heads of a block."""
    rows, chunks = blocks.rows, blocks.chunks
    gradient[...] = jnp.zeros_like(gradient)
    for number in range(blocks.together):
        for chunk in range(chunks):
            square = band[number, pl.ds(chunk * rows, rows), :]
            wide = jnp.concatenate([square, jnp.zeros_like(square)], axis=1)
            sums = _summed_back(wide)
            middle = (chunks - chunk) * rows
            gradient[0, pl.ds(number, 1), pl.ds(middle, rows)] += sums[:, :rows]
            gradient[0, pl.ds(number, 1), pl.ds(middle - rows, rows)] += sums[:, rows:]


def _rotated(row: Float[Array, "1 lanes"], rows: int) -> Float[Array, "rows lanes"]:
    """Returns copies of a row, the i-th rotated by i lanes: each rotation doubles the rows."""
    found = jnp.broadcast_to(row, (SUBLANES, row.shape[1]))
    for power in (1, 2, 4):
        found = jnp.where(_has(power, found), pltpu.roll(found, power, 1), found)
    while len(found) < rows:
        found = jnp.concatenate([found, pltpu.roll(found, len(found), 1)], axis=0)
    return found


def _summed_back(square: Float[Array, "rows lanes"]) -> Float[Array, "1 lanes"]:
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


def _allowed(inputs, column, key, blocks: TpuBlocks, causal: bool):
    allowed = None
    if column is not None:
        number = 0 if inputs.query_numbers is None else inputs.query_numbers[0]
        allowed = jnp.broadcast_to(column, key.shape) == number
    if causal:
        query = pl.program_id(2) * blocks.rows
        earlier = key <= query + jax.lax.broadcasted_iota(jnp.int32, key.shape, 1)
        allowed = earlier if allowed is None else allowed & earlier
    return allowed
