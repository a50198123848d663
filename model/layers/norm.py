"""RMSNorm as in T5: no mean, no bias, variance in float32, epsilon 1e-6."""

from typing import Any

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
        return _scaled((wide * inverse).astype(x.dtype), self.scale)


def _value(
    x: Float[Array, "batch length embed"], scale: Float[Array, " embed"]
) -> Float[Array, "batch length embed"]:
    return x * scale.astype(x.dtype)


def _forward(x: Array, scale: Array) -> tuple[Array, tuple[Array, Array]]:
    return _value(x, scale), (x, scale)


def _backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """Sums the scale's gradient in float32, over positions and over devices.

    In bfloat16 a sum of a million terms keeps three digits.
    """
    x, scale = kept
    terms = x.astype(jnp.float32) * cotangent.astype(jnp.float32)
    return cotangent * scale.astype(cotangent.dtype), jnp.sum(terms, axis=(0, 1))


_scaled: Any = jax.custom_vjp(_value)
_scaled.defvjp(_forward, _backward)
