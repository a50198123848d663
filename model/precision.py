"""Products that are summed in float32 and differentiated in the type of their operands.

Scores and logits are wanted in float32, for their softmax, of operands in bfloat16. JAX would carry
that into the backward pass, where both operands would be widened and multiplied as float32 ones:
the most expensive products of the network at the slowest precision. Here what comes back is
narrowed first. In float32 nothing changes.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Num


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def summed_in_float32(
    subscripts: str, a: Num[Array, "*a"], b: Num[Array, "*b"]
) -> Float32[Array, "*out"]:
    """Returns `einsum(subscripts, a, b)` in float32; its gradients are products in `a`'s type."""
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _forward(subscripts: str, a: Array, b: Array):
    return summed_in_float32(subscripts, a, b), (a, b)


def _backward(subscripts: str, operands: tuple[Array, Array], slope: Array):
    _, pull_back = jax.vjp(lambda a, b: jnp.einsum(subscripts, a, b), *operands)
    return pull_back(slope.astype(operands[0].dtype))


summed_in_float32.defvjp(_forward, _backward)
