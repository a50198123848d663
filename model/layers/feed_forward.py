"""The parts of a layer that see one position at a time: dropout, RMSNorm, the dense feed-forward.

Feed-forward: gated GELU (T5 1.1, mT5) or ReLU (T5 1.0), without biases. GELU is the tanh
approximation, as in T5 and Hugging Face's `gelu_new`. A layer without a gate matrix is a ReLU
network; no other field marks it. Experts share `activated`. RMSNorm has neither mean nor bias.

Dropout is T5's, of whole units: Mesh TensorFlow and T5X draw one mask per row for all positions
(`broadcast_dims=(-2,)`), so masks are small: [batch, 1, width]. They draw the mask of the attention
weights once for all queries. To zero a key's weight for every query is to zero its value, so this
mask is applied to the values and works with any attention kernel. The masks of a row are a function
of the step's key and the row's number in the batch: neither the mesh nor microbatches change them.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from model.config import ModelConfig
from model.layers.products import kernel, product
from model.remat import MULTIPLIED

EPSILON = 1e-6  # of RMSNorm
INWARD = "batch length embed, embed mlp -> batch length mlp"
OUTWARD = "batch length mlp, mlp embed -> batch length embed"


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
        return self._scale(x, self._kept(self.row_keys, x.shape[-1:])[:, None])

    def of_values(
        self, values: Float[Array, "batch keys width"], heads: int
    ) -> Float[Array, "batch keys width"]:
        """Zeroes whole values of heads: the attention weights of these keys, for every query."""
        if self.row_keys is None:
            return values
        kept = self._kept(self.row_keys, (values.shape[1], heads))
        return self._scale(values, jnp.repeat(kept, values.shape[-1] // heads, axis=-1))

    def _kept(self, keys: Key[Array, " batch"], shape: tuple[int, ...]) -> Array:
        return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, shape))(keys)

    def _scale(self, x: Array, kept: Array) -> Array:
        return jnp.where(kept, x / (1 - self.rate), 0)


NO_DROPOUT = Dropout()


class RMSNorm(eqx.Module):
    """Scales each position to root mean square 1, then by a learned factor per channel."""

    scale: Float[Array, " embed"]

    @staticmethod
    def init(embed: int) -> "RMSNorm":
        """Returns a norm with scale 1."""
        return RMSNorm(jnp.ones(embed))

    def __call__(self, x: Float[Array, "batch length embed"]) -> Float[Array, "batch length embed"]:
        """Normalizes the last dimension; the result has the input's type."""
        wide = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + EPSILON)
        return _scale((wide * inverse).astype(x.dtype), self.scale)


@jax.custom_vjp
def _scale(
    x: Float[Array, "batch length embed"], scale: Float[Array, " embed"]
) -> Float[Array, "batch length embed"]:
    return _scaled_forward(x, scale)[0]


def _scaled_forward(x: Array, scale: Array) -> tuple[Array, tuple[Array, Array]]:
    return x * scale.astype(x.dtype), (x, scale)


def _scaled_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """Sums the scale's gradient in float32, over positions and over devices.

    In bfloat16 a sum of a million terms keeps three digits.
    """
    x, scale = kept
    terms = x.astype(jnp.float32) * cotangent.astype(jnp.float32)
    return cotangent * scale.astype(cotangent.dtype), jnp.sum(terms, axis=(0, 1))


_scale.defvjp(_scaled_forward, _scaled_backward)


class FeedForward(eqx.Module):
    """gelu(x gate) * (x up), then down; without a gate relu(x up), then down."""

    gate: Float[Array, "embed mlp"] | None
    up: Float[Array, "embed mlp"]
    down: Float[Array, "mlp embed"]

    @staticmethod
    def init(config: ModelConfig, *, key: Key[Array, ""]) -> "FeedForward":
        """Draws the two or three matrices."""
        keys = jax.random.split(key, 3)
        scale, inward = config.initialization_scale, (config.embed, config.mlp)
        gated = config.feed_forward == "gated-gelu"
        return FeedForward(
            gate=kernel(inward, fan_in=config.embed, scale=scale, key=keys[0]) if gated else None,
            up=kernel(inward, fan_in=config.embed, scale=scale, key=keys[1]),
            down=kernel(inward[::-1], fan_in=config.mlp, scale=scale, key=keys[2]),
        )

    def __call__(
        self, x: Float[Array, "batch length embed"], mesh: Mesh, dropout: Dropout = NO_DROPOUT
    ) -> Float[Array, "batch length embed"]:
        """Applies the network to each position separately."""

        def inward(weight: Float[Array, "embed mlp"]) -> Float[Array, "batch length mlp"]:
            return checkpoint_name(product(INWARD, x, weight, mesh), MULTIPLIED)

        gate = None if self.gate is None else inward(self.gate)
        hidden = dropout(activate(gate, inward(self.up)))
        return checkpoint_name(product(OUTWARD, hidden, self.down, mesh), MULTIPLIED)


def activate(gate: Float[Array, "*any"] | None, up: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Returns gelu(gate) * up, or relu(up) without a gate."""
    return jax.nn.relu(up) if gate is None else jax.nn.gelu(gate, approximate=True) * up
