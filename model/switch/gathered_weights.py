"""A switch layer's weights, gathered from the devices of the `data` axis for one use.

A device stores 1/data of each of its experts' matrices in float32. They are rounded to the tokens'
type before they are gathered, so half the bytes cross a link. Each device's gradient has that type,
as the product makes it, and is reduce-scattered in float32: a sum of one term per device in
bfloat16 would lose digits that the optimizer keeps. The router is used, gathered and summed in
float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from model.sharding.exchanges import sum_across
from model.sharding.layouts import EXPERT_AXES


def gathered_router(stored: Float[Array, "embed_shard experts"]) -> Float[Array, "embed all"]:
    """Returns the whole router, which every device applies to its own tokens."""
    part = _in_every_slice(stored.dtype, stored)
    return _gather(_gather(part, ("data",), dimension=0), EXPERT_AXES, dimension=1)


def gathered(
    stored: Float[Array, "experts *part"], dimension: int, dtype: DTypeLike
) -> Float[Array, "experts *whole"]:
    """Returns the whole matrices of this device's experts, of which it stores a part.

    Args:
        stored: part in float32.
        dimension: dimension that the `data` axis splits.
        dtype: type of the result.
    """
    return _rounded_and_gathered(dimension, dtype, _in_every_slice(dtype, stored))


def _value(dimension: int, dtype: DTypeLike, stored: Array) -> Array:
    return _gather(stored.astype(dtype), ("data",), dimension=dimension)


def _forward(dimension: int, dtype: DTypeLike, stored: Array) -> tuple[Array, None]:
    return _value(dimension, dtype, stored), None


def _backward(dimension: int, dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    cotangent = cotangent.astype(jnp.float32)
    if jax.lax.axis_size("data") > 1:
        cotangent = jax.lax.psum_scatter(cotangent, "data", scatter_dimension=dimension, tiled=True)
    return (cotangent,)


_rounded_and_gathered: Any = jax.custom_vjp(_value, nondiff_argnums=(0, 1))
_rounded_and_gathered.defvjp(_forward, _backward)


def _gather(part: Array, axes: tuple[str, ...], *, dimension: int) -> Array:
    """Joins the parts of devices along mesh axes; JAX's transpose is a reduce-scatter."""
    if jax.lax.axis_size(axes) == 1:
        return part
    return jax.lax.all_gather(part, axes, axis=dimension, tiled=True)


def _of_slice(dtype: DTypeLike, stored: Array) -> Array:
    if jax.lax.axis_size("replica") == 1:
        return stored
    return jax.lax.pcast(stored, "replica", to="varying")


def _summed(dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    return (sum_across(cotangent, dtype, ("replica",)),)


# A parameter that each slice has. JAX's own sum over slices would be of whole matrices, before the
# sum within each slice leaves a part of them.
_in_every_slice: Any = jax.custom_vjp(_of_slice, nondiff_argnums=(0,))
_in_every_slice.defvjp(lambda dtype, stored: (_of_slice(dtype, stored), None), _summed)
