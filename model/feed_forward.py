"""The dense feed-forward of T5 1.1 and mT5: gated GELU (Shazeer 2020), no biases.

GELU is the tanh approximation, as in T5 and Hugging Face's `gelu_new`.
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from model.config import ModelConfig
from model.initialization import kernel


class FeedForward(eqx.Module):
    """gelu(x gate) * (x up), then down."""

    gate: Float[Array, "embed mlp"]
    up: Float[Array, "embed mlp"]
    down: Float[Array, "mlp embed"]

    @staticmethod
    def init(config: ModelConfig, *, key: Key[Array, ""]) -> "FeedForward":
        """Draws the three matrices."""
        keys = jax.random.split(key, 3)
        scale, inward = config.initialization_scale, (config.embed, config.mlp)
        return FeedForward(
            gate=kernel(inward, fan_in=config.embed, scale=scale, key=keys[0]),
            up=kernel(inward, fan_in=config.embed, scale=scale, key=keys[1]),
            down=kernel(inward[::-1], fan_in=config.mlp, scale=scale, key=keys[2]),
        )

    def __call__(self, x: Float[Array, "batch length embed"]) -> Float[Array, "batch length embed"]:
        """Applies the network to every position alone."""
        dtype = x.dtype
        hidden = jax.nn.gelu(x @ self.gate.astype(dtype), approximate=True)
        return (hidden * (x @ self.up.astype(dtype))) @ self.down.astype(dtype)
