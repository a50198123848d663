"""T5's bucketed bias as a vector over offsets: what a kernel reads instead of a matrix.

The bias of a query and a key depends on their offset (key position minus query position) alone, so
a head of `queries x keys` has `queries + keys - 1` distinct numbers. They are picked from the table
by a product with zeros and ones: exact in float32, and its gradient is a product too, where a
gather would scatter one offset after another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model.layers.position_bias import BUCKETS, FARTHEST, bucket

ENDLESS = 2**30  # beyond any offset
EXACT = jax.lax.Precision.HIGHEST


def by_offset(
    table: Float[Array, "buckets heads"], offsets: Int[np.ndarray, " offsets"], bidirectional: bool
) -> Float[Array, "heads offsets"]:
    """Returns each head's bias at each offset, in float32."""
    chosen = _chosen(offsets, bidirectional, table.shape[0])
    return jnp.einsum("bh,bo->ho", table.astype(jnp.float32), chosen, precision=EXACT)


def by_bucket(
    gradient: Float[Array, "heads offsets"],
    offsets: Int[np.ndarray, " offsets"],
    bidirectional: bool,
    buckets: int,
) -> Float[Array, "buckets heads"]:
    """Returns the table's gradient: the sum over each bucket's offsets."""
    chosen = _chosen(offsets, bidirectional, buckets)
    return jnp.einsum("ho,bo->bh", gradient, chosen, precision=EXACT)


def _chosen(
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
