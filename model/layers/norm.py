"""RMSNorm as in T5: no mean, no bias, variance in float32, epsilon 1e-6."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-6


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
        return (wide * inverse).astype(x.dtype) * self.scale.astype(x.dtype)
