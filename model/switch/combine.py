"""The end of a switch layer: expert outputs times gates, added per token.

The gate's gradient is the router's only signal from the loss, a sum over the width of the network.
It is added in float32: in bfloat16 each of 768 to 4,096 additions rounds, which was measured to
leave an error of 1 % of the gradient.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _value(
    y: Float[Array, "groups tokens top_k embed"], gate: Float[Array, "groups tokens top_k"]
) -> Float[Array, "groups tokens embed"]:
    """Returns each token's expert outputs, weighed by its gates."""
    return jnp.sum(y * gate[..., None].astype(y.dtype), axis=2)


def _forward(y: Array, gate: Array) -> tuple[Array, tuple[Array, Array]]:
    return _value(y, gate), (y, gate)


def _backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    y, gate = kept
    to_all = cotangent[:, :, None]
    terms = y.astype(jnp.float32) * to_all.astype(jnp.float32)
    return gate[..., None].astype(y.dtype) * to_all, jnp.sum(terms, axis=-1)


weighed: Any = jax.custom_vjp(_value)
weighed.defvjp(_forward, _backward)
