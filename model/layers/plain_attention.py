"""Softmax attention as written in T5's paper: the reference of the kernels, and the path on CPUs.

Scores and softmax are in float32. The scores of all pairs of positions are written to memory, which
on TPUs and GPUs was more than half of a step's traffic; those use `model/kernels/`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from model.precision import summed_in_float32

MASKED = -1e9  # finite: a row of padding alone gives a uniform softmax instead of NaN


def plain_attention(
    query: Float[Array, "batch queries width"],
    keys: Float[Array, "batch keys width"],
    values: Float[Array, "batch keys width"],
    bias: Float[Array, "heads #queries keys"] | None,
    mask: Bool[Array, "#batch #queries keys"],
    heads: int,
) -> Float[Array, "batch queries width"]:
    """Returns each query's mean of the values, weighted by softmax of scores and biases.

    Args:
        query, keys, values: all heads side by side: `width` is heads times head.
        bias: added to the scores; None for no bias.
        mask: True for keys that a query attends to.
        heads: number of heads.
    """
    query, keys, values = (
        part.reshape(*part.shape[:2], heads, -1) for part in (query, keys, values)
    )
    scores = summed_in_float32("bqhd,bkhd->bhqk", query, keys)
    if bias is not None:
        scores = scores + bias[None].astype(jnp.float32)
    scores = jnp.where(mask[:, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, values)
    return mixed.reshape(*mixed.shape[:2], -1)
