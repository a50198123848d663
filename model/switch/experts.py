"""The experts of one device: each a feed-forward like the dense one, with its own dropout.

The caller passes the grouped matrix product: batched (capacity) or ragged (dropless). A device of
the `model` axis holds a part of each expert's inner width, so its output is a partial sum, which
the caller reduces.

CPU-seconds relative to one dense product on as many rows, forward and backward, of a batched
product, of a loop (`lax.map`) and of products written out (XLA:CPU, width 256 to 1024;
benchmarks/training/expert_products.py):

    8 experts of 320 rows 1.13, 1.22, 1.11; 32 of 80 rows 1.51, 1.57, 3.30;
    128 of 160 rows 1.37, 1.47; 128 of 20 rows 3.51, 2.73

Hence a batched product: the loop is faster only with very few rows per expert, at a size that
nobody trains.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, Key

from model.layers.feed_forward import activated
from model.remat import MULTIPLIED

GroupedProduct = Callable[[Float[Array, "*rows in"], Float[Array, "experts in out"]], Array]


class Experts(NamedTuple):
    """The part of a switch layer's experts that one device holds.

    Attributes:
        gate, up, down: weights in the tokens' type; without a gate the experts are ReLU networks.
        total: number of experts on all devices.
        dropout_rate: share of hidden units that dropout zeroes; 0 outside training.
        key: key of the dropout; None outside training.
        microbatch, microbatches: which part of the batch the rows are of, and of how many.
    """

    gate: Float[Array, "experts embed mlp"] | None
    up: Float[Array, "experts embed mlp"]
    down: Float[Array, "experts mlp embed"]
    total: int
    dropout_rate: float
    key: Key[Array, ""] | None
    microbatch: Int[Array, ""]
    microbatches: int

    def __call__(
        self,
        rows: Float[Array, "*rows embed"],
        product: GroupedProduct,
        row_id: Int[Array, "*rows"],
    ) -> Float[Array, "*rows embed"]:
        """Applies its expert to each row; returns this device's term of the sum over `model`.

        Args:
            rows: tokens, grouped as `product` expects them.
            product: rows times the matrices of their experts.
            row_id: number of each row in the whole batch, which seeds its dropout mask.
        """
        gate = None if self.gate is None else checkpoint_name(product(rows, self.gate), MULTIPLIED)
        hidden = activated(gate, checkpoint_name(product(rows, self.up), MULTIPLIED))
        if self.dropout_rate > 0:
            kept = hidden / (1 - self.dropout_rate)
            hidden = jnp.where(self._dropout_mask(row_id), kept, 0)
        return product(hidden, self.down)

    def _dropout_mask(self, row_id: Int[Array, "*rows"]) -> Bool[Array, "*rows mlp"]:
        """Returns True for hidden units to keep: drawn for the whole width, then cut to a part."""
        assert self.key is not None  # dropout has a key
        key, part = self.key, self.up.shape[-1]
        parts = jax.lax.axis_size("model")
        width, first = part * parts, jax.lax.axis_index("model") * part if parts > 1 else 0

        def one_row(row_id: Int[Array, ""]) -> Bool[Array, " mlp"]:
            row_key = jax.random.fold_in(key, row_id)
            mask = jax.random.bernoulli(row_key, 1 - self.dropout_rate, (width,))
            return jax.lax.dynamic_slice(mask, (first,), (part,))

        return jax.vmap(one_row)(row_id.reshape(-1)).reshape(*row_id.shape, part)
