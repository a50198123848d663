"""Products that are summed in float32 and differentiated in the type of their operands.

Softmax needs scores and logits in float32, while their operands are bfloat16. JAX would carry
float32 into the backward pass: it would widen both operands and multiply them in float32, the most
expensive products of the network at the slowest precision. Here the incoming gradient is narrowed
first. With float32 operands nothing changes.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Num


def summed_in_float32(
    subscripts: str, a: Num[Array, "*a"], b: Num[Array, "*b"]
) -> Float32[Array, "*out"]:
    """Returns `einsum(subscripts, a, b)` in float32; its gradients are products in `a`'s type."""
    return _product(subscripts, a, b)


def _value(subscripts: str, a: Array, b: Array) -> Array:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _forward(subscripts: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return _value(subscripts, a, b), (a, b)


def _backward(
    subscripts: str, operands: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    _, pull_back = jax.vjp(lambda a, b: jnp.einsum(subscripts, a, b), *operands)
    return pull_back(cotangent.astype(operands[0].dtype))


_product: Any = jax.custom_vjp(_value, nondiff_argnums=(0,))
_product.defvjp(_forward, _backward)
