"""T5's dropout: a unit of a row is zeroed at all its positions, or at none.

Mesh TensorFlow and T5X draw one mask per row for all positions (`broadcast_dims=(-2,)`), so masks
are small: [batch, 1, width]. They draw the mask of the attention weights once for all queries. To
zero a key's weight for every query is to zero its value, so this mask is applied to the values and
works with any attention kernel.

The masks of a row are a function of the step's key and the row's number in the batch: neither the
mesh nor microbatches change them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Dropout(NamedTuple):
    """The dropout of one call of a network.

    Attributes:
        rate: share of units that are zeroed; the others are divided by 1 - rate.
        row_keys: key of each row; None without dropout.
    """

    rate: float = 0.0
    row_keys: Key[Array, " batch"] | None = None

    @staticmethod
    def of_rows(rate: float, key: Key[Array, ""], rows: Int[Array, " batch"]) -> "Dropout":
        """Returns the dropout of rows with these numbers."""
        return Dropout(rate, jax.vmap(lambda row: jax.random.fold_in(key, row))(rows))

    def at(self, place: Int[Array, ""] | int) -> "Dropout":
        """Returns the dropout of a numbered place, whose masks differ from those elsewhere."""
        if self.row_keys is None:
            return self
        return self._replace(
            row_keys=jax.vmap(lambda key: jax.random.fold_in(key, place))(self.row_keys)
        )

    def __call__(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        """Zeroes units, the same ones at all positions of a row."""
        if self.row_keys is None:
            return x
        return self._scaled(x, self._kept(self.row_keys, x.shape[-1:])[:, None])

    def of_values(
        self, values: Float[Array, "batch keys width"], heads: int
    ) -> Float[Array, "batch keys width"]:
        """Zeroes whole values of heads: the attention weights of these keys, for every query."""
        if self.row_keys is None:
            return values
        kept = self._kept(self.row_keys, (values.shape[1], heads))
        return self._scaled(values, jnp.repeat(kept, values.shape[-1] // heads, axis=-1))

    def _kept(self, keys: Key[Array, " batch"], shape: tuple[int, ...]) -> Array:
        return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, shape))(keys)

    def _scaled(self, x: Array, kept: Array) -> Array:
        return jnp.where(kept, x / (1 - self.rate), 0)


NO_DROPOUT = Dropout()
