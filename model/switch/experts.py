"""The experts of one device: each a feed-forward as the dense one, with dropout of its own.

How rows meet weights is the caller's: `product` multiplies rows with the matrices of their experts,
for one dispatch as a batch of products, for another as a ragged one.

CPU-seconds of a batch, of a loop (`lax.map`) and of products written out, forward and backward,
over the dense product's (XLA:CPU, 256 to 1024 wide; benchmarks/expert_products.py):

    8 experts of 320 rows 1.13, 1.22, 1.11; 32 of 80 rows 1.51, 1.57, 3.30;
    128 of 160 rows 1.37, 1.47; 128 of 20 rows 3.51, 2.73

So a batch: the loop wins only where experts starve, at a size that nothing is trained at.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from model.layers.feed_forward import activated

Product = Callable[[Float[Array, "*rows in"], Float[Array, "experts in out"]], Array]


class Experts(NamedTuple):
    """A device's experts, and its part of their inner width.

    Attributes:
        gate, up, down: their weights; no gate means ReLU.
        total: experts of all devices together.
        dropout: share of hidden units that is silenced; 0 outside training.
        key: its randomness.
    """

    gate: Float[Array, "experts embed part"] | None
    up: Float[Array, "experts embed part"]
    down: Float[Array, "experts part embed"]
    total: int
    dropout: float
    key: Key[Array, ""]

    def __call__(
        self,
        rows: Float[Array, "*rows embed"],
        product: Product,
        numbers: Int[Array, "*rows"],
    ) -> Float[Array, "*rows embed"]:
        """Applies to each row its expert.

        Args:
            rows: tokens, arranged as `product` wants them.
            product: rows times their experts' matrices.
            numbers: of each row, the same on any mesh: what its dropout depends on.
        """
        dtype = rows.dtype
        gate = None if self.gate is None else product(rows, self.gate.astype(dtype))
        hidden = activated(gate, product(rows, self.up.astype(dtype)))
        if self.dropout > 0:
            hidden = jnp.where(self._dropout_mask(numbers), hidden / (1 - self.dropout), 0)
        return jax.lax.psum(product(hidden, self.down.astype(dtype)), "model")

    def _dropout_mask(self, numbers: Int[Array, "*rows"]) -> Bool[Array, "*rows part"]:
        part = self.up.shape[-1]
        whole = part * jax.lax.axis_size("model")

        def one_row(number: Int[Array, ""]) -> Bool[Array, " part"]:
            drawn = jax.random.bernoulli(
                jax.random.fold_in(self.key, number), 1 - self.dropout, (whole,)
            )
            return jax.lax.dynamic_slice(drawn, (jax.lax.axis_index("model") * part,), (part,))

        return jax.vmap(one_row)(numbers.reshape(-1)).reshape(*numbers.shape, part)
