"""The dense feed-forward: T5 1.1's and mT5's gated GELU (Shazeer 2020), or T5 1.0's ReLU.

No biases. GELU is the tanh approximation, as in T5 and Hugging Face's `gelu_new`. A layer without a
gate matrix is a ReLU network; no other field marks it. Experts share `activated`.
"""

import equinox as eqx
import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from model.config import ModelConfig
from model.layers.dropout import NO_DROPOUT, Dropout
from model.layers.initialization import kernel
from model.layers.products import product
from model.remat import MULTIPLIED

INWARD = "batch length embed, embed mlp -> batch length mlp"
OUTWARD = "batch length mlp, mlp embed -> batch length embed"


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
        hidden = dropout(activated(gate, inward(self.up)))
        return checkpoint_name(product(OUTWARD, hidden, self.down, mesh), MULTIPLIED)


def activated(gate: Float[Array, "*any"] | None, up: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Returns gelu(gate) * up, or relu(up) without a gate."""
    return jax.nn.relu(up) if gate is None else jax.nn.gelu(gate, approximate=True) * up
