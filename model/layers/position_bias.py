"""T5's relative position bias: one learned number per head and distance bucket, added to scores.

Source: Raffel et al. 2020, section 2.1, and Mesh TensorFlow's `_relative_position_bucket`. 32
buckets: half exact, half logarithmic up to distance 128; all farther offsets share the last one.
One table per stack, shared by its layers. The encoder has 16 buckets per direction; the decoder
attends only backwards.

Beside the learned table a head may have a slope, by which its biases fall per token of distance as
in ALiBi. It is not in the table: Adafactor moves a matrix by a share of its root mean square, which
the slopes of far buckets would make 50 times as large (docs/decisions/first-weights.md).

Kernels take a vector over offsets instead of a matrix. The bias of a query and a key depends on
their offset (key position minus query position) alone, so a head of `queries x keys` has
`queries + keys - 1` distinct numbers. They are picked from the table by a product with zeros and
ones: exact in float32, and its gradient is a product too, where a gather would scatter one offset
after another.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import glorot_uniform
from jaxtyping import Array, Float, Int, Key

BUCKETS = 32
FARTHEST = 128  # tokens
ENDLESS = 2**30  # beyond any offset
EXACT = jax.lax.Precision.HIGHEST


class PositionBias(eqx.Module):
    """The biases of one stack.

    Attributes:
        table: the learned numbers.
        bidirectional: as in `bucket`.
        slope: what the first head's biases fall by per token of distance, half as much for each
            further head (Press et al. 2022); 0 in T5.
    """

    table: Float[Array, "buckets heads"]
    bidirectional: bool = eqx.field(static=True)
    slope: float = eqx.field(static=True, default=0.0)

    @staticmethod
    def init(
        *, heads: int, slope: float, bidirectional: bool, key: Key[Array, ""]
    ) -> "PositionBias":
        """Draws a table of variance 2 / (buckets + heads), as Mesh TensorFlow and T5X do.

        Args:
            heads: number of heads.
            slope, bidirectional: as in the attributes.
            key: key of the draw.
        """
        table = glorot_uniform()(key, (BUCKETS, heads), jnp.float32)
        return PositionBias(table, bidirectional, slope)

    @property
    def biases(self) -> Float[Array, "buckets heads"]:
        """Numbers added to scores: the table, less the slope of each head times the distance."""
        table = jnp.asarray(self.table)
        if not self.slope:
            return table
        slopes = self.slope * 0.5 ** np.arange(table.shape[1])
        return table - jnp.asarray(np.outer(distances(self.bidirectional), slopes), table.dtype)

    def __call__(self, queries: int, keys: int) -> Float[Array, "heads queries keys"]:
        """Returns the bias of every query and key position."""
        return self.at(np.arange(keys)[None, :] - np.arange(queries)[:, None])

    def at(self, offsets: Int[np.ndarray, "query key"]) -> Float[Array, "heads query key"]:
        """Returns the bias of every offset (key position minus query position)."""
        return jnp.moveaxis(self.biases[bucket(offsets, self.bidirectional)], -1, 0)


def bucket(
    offsets: Int[np.ndarray, "query key"], bidirectional: bool
) -> Int[np.ndarray, "query key"]:
    """Returns the bucket of each offset (key position minus query position).

    Args:
        offsets: negative where the key comes first.
        bidirectional: True to give later keys buckets of their own; else they share bucket 0.
    """
    buckets = BUCKETS // 2 if bidirectional else BUCKETS
    base = np.where(offsets > 0, buckets, 0) if bidirectional else np.zeros_like(offsets)
    distance = np.abs(offsets) if bidirectional else np.maximum(-offsets, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1) / exact) / np.log(FARTHEST / exact)
    far = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int64), buckets - 1)
    return base + np.where(distance < exact, distance, far)


def distances(bidirectional: bool) -> Float[np.ndarray, "buckets"]:
    """Returns the mean distance in tokens of each bucket, up to 128; 0 for one without offsets."""
    offsets = np.arange(-FARTHEST, FARTHEST + 1 if bidirectional else 1)
    (buckets,) = bucket(offsets[None], bidirectional)
    counts = np.bincount(buckets, minlength=BUCKETS)
    return np.bincount(buckets, np.abs(offsets), BUCKETS) / np.maximum(counts, 1)


def by_offset(
    table: Float[Array, "buckets heads"], offsets: Int[np.ndarray, " offsets"], bidirectional: bool
) -> Float[Array, "heads offsets"]:
    """Returns each head's bias at each offset, in float32."""
    chosen = _is_in_bucket(offsets, bidirectional, table.shape[0])
    return jnp.einsum("bh,bo->ho", table.astype(jnp.float32), chosen, precision=EXACT)


def along_diagonals(
    by_offset: Float[Array, "heads offsets"], queries: int, keys: int
) -> Float[Array, "heads queries keys"]:
    """Returns the matrix of each head whose entry depends on key minus query position alone.

    A matrix whose rows are all the same vector, read in rows that are one shorter, has it: each row
    begins one later. No index is gathered, and the gradient is a sum along diagonals.

    Args:
        by_offset: entries, from the last query's with the first key on: `queries + keys - 1`.
        queries, keys: numbers of positions.
    """
    heads, offsets = by_offset.shape
    rows = jnp.broadcast_to(by_offset[:, None], (heads, queries, offsets)).reshape(heads, -1)
    rows = rows[:, queries - 1 : queries - 1 + queries * (offsets - 1)]
    return rows.reshape(heads, queries, offsets - 1)[..., :keys]


def by_bucket(
    gradient: Float[Array, "heads offsets"],
    offsets: Int[np.ndarray, " offsets"],
    bidirectional: bool,
    buckets: int,
) -> Float[Array, "buckets heads"]:
    """Returns the table's gradient: the sum over each bucket's offsets."""
    chosen = _is_in_bucket(offsets, bidirectional, buckets)
    return jnp.einsum("ho,bo->bh", gradient, chosen, precision=EXACT)


def _is_in_bucket(
    offsets: Int[np.ndarray, " offsets"], bidirectional: bool, buckets: int
) -> Float[np.ndarray, "buckets offsets"]:
    return (bucket(offsets[None], bidirectional) == np.arange(buckets)[:, None]).astype(np.float32)


class Segments(NamedTuple):
    """Stretches of offsets with one bucket each, in ascending order.

    Attributes:
        starts, ends: first offset of each stretch, and the one after its last.
        buckets: bucket of each; -1 if it is empty.
    """

    starts: Int[np.ndarray, " segments"]
    ends: Int[np.ndarray, " segments"]
    buckets: Int[np.ndarray, " segments"]


def segments(bidirectional: bool) -> Segments:
    """Returns the stretches of equal bias, padded with empty ones to the number of buckets.

    The last boundary between buckets is nearer than `FARTHEST`.
    """
    offsets = np.arange(-FARTHEST, FARTHEST + 1)
    (buckets,) = bucket(offsets[None], bidirectional)
    first = np.flatnonzero(np.diff(buckets, prepend=-1))
    empty = np.full(BUCKETS - len(first), ENDLESS)
    starts = np.concatenate([[-ENDLESS], offsets[first[1:]], empty])
    numbers = np.concatenate([buckets[first], -(empty > 0).astype(int)])
    ends = np.append(starts[1:], ENDLESS)
    return Segments(*(x.astype(np.int32) for x in (starts, ends, numbers)))
