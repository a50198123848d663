"""Attention with T5's bucketed bias that writes no scores: fused kernels for TPUs and GPUs.

`fused_attention` equals `model/layers/plain_attention.py` on the arrays of one device. Nothing of
size `queries x keys` is written to memory, forward or backward, and the table's gradient is summed
inside. Of this package it needs `position_bias.bucket` alone.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from model.kernels.arguments import PADDING, Arguments, Numbers, Platform, Setting
from model.kernels.gpu import passes as gpu
from model.kernels.tpu import passes as tpu
from model.remat import STATISTICS


def fused_attention(
    query: Float[Array, "batch queries width"],
    keys: Float[Array, "batch keys width"],
    values: Float[Array, "batch keys width"],
    table: Float[Array, "buckets heads"] | None = None,
    key_mask: Bool[Array, "batch keys"] | None = None,
    query_example: Int[Array, "batch queries"] | None = None,
    key_example: Int[Array, "batch keys"] | None = None,
    *,
    heads: int,
    bidirectional: bool,
    causal: bool,
    platform: Platform,
    interpret: bool = False,
) -> Float[Array, "batch queries width"]:
    """Returns each query's mean of the values, weighted by softmax of scores and biases.

    Args:
        query, keys, values: all heads side by side: `width` is heads times head.
        table: biases by bucket; None for no bias.
        key_mask: True for keys that may be seen; None for all.
        query_example, key_example: example numbers from 0 in packed rows, whose examples do not see
            each other; None for one example per row.
        heads: number of heads.
        bidirectional: whether later keys have buckets of their own.
        causal: whether a query sees only its own position and earlier ones.
        platform: kind of device to compile for.
        interpret: True to run the kernel on any device, slowly, for tests.
    """
    numbers = example_numbers(key_mask, query_example, key_example)
    setting = Setting(heads, bidirectional, causal, platform, interpret)
    return _attention(Arguments(query, keys, values, table, numbers), setting)


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
    """Returns the numbers by which the kernels mask keys."""
    if query_example is None or key_example is None:
        keys = None if key_mask is None else jnp.where(key_mask, 0, PADDING)
        return Numbers(None, keys)
    keys = key_example if key_mask is None else jnp.where(key_mask, key_example, PADDING)
    return Numbers(query_example.astype(jnp.int32), keys.astype(jnp.int32))


def attention_forward(
    arguments: Arguments, setting: Setting
) -> tuple[Float[Array, "batch queries width"], Float[Array, "batch heads *queries"]]:
    """Returns the result and the statistics that the backward pass needs."""
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _attention(arguments: Arguments, setting: Setting):
    return attention_forward(arguments, setting)[0]


def _kept(arguments: Arguments, setting: Setting):
    output, statistics = attention_forward(arguments, setting)
    return output, (arguments, output, checkpoint_name(statistics, STATISTICS))


def _gradients(setting: Setting, kept, cotangent):
    arguments, output, statistics = kept
    return (attention_backward(arguments, output, statistics, cotangent, setting),)


_attention.defvjp(_kept, _gradients)
