"""T5's relative position bias: one learned number per head and distance bucket, added to scores.

Source: Raffel et al. 2020, section 2.1, and Mesh TensorFlow's `_relative_position_bucket`. 32
buckets: half exact, half logarithmic up to distance 128; all farther offsets share the last one.
One table per stack, shared by its layers. The encoder has 16 buckets per direction; the decoder
attends only backwards.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import glorot_uniform
from jaxtyping import Array, Float, Int, Key

BUCKETS = 32
FARTHEST = 128


class PositionBias(eqx.Module):
    """The table of one stack."""

    table: Float[Array, "buckets heads"]
    bidirectional: bool = eqx.field(static=True)

    @staticmethod
    def init(
        *, heads: int, slope: float, bidirectional: bool, key: Key[Array, ""]
    ) -> "PositionBias":
        """Draws a table of variance 2 / (buckets + heads), as Mesh TensorFlow and T5X do.

        Args:
            heads: number of heads.
            slope: what the first head's biases fall by per token of distance, half as much for each
                further head, as in ALiBi (Press et al. 2022); 0 in T5.
            bidirectional: as in `bucket`.
            key: key of the draw.
        """
        table = glorot_uniform()(key, (BUCKETS, heads), jnp.float32)
        slopes = slope * 0.5 ** np.arange(heads)
        return PositionBias(table - np.outer(distances(bidirectional), slopes), bidirectional)

    def __call__(self, queries: int, keys: int) -> Float[Array, "heads queries keys"]:
        """Returns the bias of every query and key position."""
        offsets = np.arange(keys)[None, :] - np.arange(queries)[:, None]
        return jnp.moveaxis(self.table[bucket(offsets, self.bidirectional)], -1, 0)


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
    here = bucket(offsets[None], bidirectional)[0]
    counts = np.bincount(here, minlength=BUCKETS)
    return np.bincount(here, np.abs(offsets), BUCKETS) / np.maximum(counts, 1)
