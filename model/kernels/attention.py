"""Attention with T5's bucketed bias that writes no scores: fused kernels for TPUs and GPUs.

Both passes on the arrays of one device; `model/layers/fused_attention.py` makes a differentiable
function of them. Nothing of size `queries x keys` is written to memory, forward or backward, and
the table's gradient is summed inside. Of this package they need `position_bias.bucket` alone.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.kernels.arguments import PADDING, Arguments, Numbers, Platform, Setting
from model.kernels.gpu import passes as gpu
from model.kernels.tpu import passes as tpu


def is_supported(
    query: tuple[int, ...],
    keys: tuple[int, ...],
    *,
    heads: int,
    bytes_each: int,
    platform: Platform,
    kind: str,
) -> bool:
    """Returns whether arrays of these shapes have a kernel; the plain path serves the others.

    On a TPU the keys of a block of heads and their biases must lie in its vector memory.

    Args:
        query, keys: shapes, [batch length width].
        heads: number of heads.
        bytes_each: bytes of a number.
        platform: kind of device.
        kind: JAX's name of the device; a TPU v4 has less vector memory than later ones.
    """
    return _passes(platform).is_supported(query, keys, heads, bytes_each, kind)


def example_numbers(
    key_mask: Bool[Array, "batch keys"] | None,
    query_example: Int[Array, "batch queries"] | None,
    key_example: Int[Array, "batch keys"] | None,
) -> Numbers:
    """Returns the numbers by which the kernels mask keys.

    Args:
        key_mask: True for keys that may be seen; None for all.
        query_example, key_example: example numbers from 0 in packed rows, whose examples do not see
            each other; None for one example per row.
    """
    if query_example is None or key_example is None:
        keys = None if key_mask is None else jnp.where(key_mask, 0, PADDING)
        return Numbers(None, keys)
    keys = key_example if key_mask is None else jnp.where(key_mask, key_example, PADDING)
    return Numbers(query_example.astype(jnp.int32), keys.astype(jnp.int32))


def attention_forward(
    arguments: Arguments, setting: Setting
) -> tuple[Float[Array, "batch queries width"], Float[Array, "batch heads *queries"]]:
    """Returns each query's mean of the values, weighted by softmax of scores and biases.

    Beside it are the statistics that the backward pass needs.
    """
    return _passes(setting.platform).forward(arguments, setting)


def attention_backward(
    arguments: Arguments,
    output: Float[Array, "batch queries width"],
    statistics: Float[Array, "batch heads *queries"],
    cotangent: Float[Array, "batch queries width"],
    setting: Setting,
) -> Arguments:
    """Returns the gradient of each argument, from that of the result."""
    return _passes(setting.platform).backward(arguments, output, statistics, cotangent, setting)


def _passes(platform: Platform):
    return tpu if platform == "tpu" else gpu
