"""The fused attention kernels on a mesh: each device has its own rows and heads.

Nothing is sent but the gradient of the bias table, which is summed over the devices of the batch.
The derivative is written outside of the `shard_map`s, where rematerialization can keep what the
backward kernel needs.
"""

from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Float

from model.batch import Visible
from model.kernels.arguments import Arguments, Numbers, Platform, Setting
from model.kernels.attention import (
    attention_backward,
    attention_forward,
    example_numbers,
    is_supported,
)
from model.layers.position_bias import PositionBias
from model.remat import ATTENDED, STATISTICS
from model.sharding.exchanges import on_devices
from model.sharding.layouts import BATCH_AXES, spec

KERNELS: dict[str, Platform] = {"tpu": "tpu", "gpu": "gpu", "cuda": "gpu"}  # by JAX's name
ROWS: Any = spec("batch length width")
PER_HEAD: Any = spec("batch heads")  # statistics, whose further dimensions differ by platform
PER_TOKEN: Any = spec("batch length")
IN_SPECS = Arguments(ROWS, ROWS, ROWS, spec("buckets heads"), Numbers(PER_TOKEN, PER_TOKEN))  # pyright: ignore[reportArgumentType]


def has_kernel(query: Array, keys: Array, heads: int, mesh: Mesh) -> bool:
    """Returns whether these devices have a fused kernel for arrays of these shapes."""
    device = mesh.devices.flat[0]
    platform = KERNELS.get(device.platform)
    if platform is None:
        return False
    parts = mesh.shape["model"]
    shapes = ((len(one), one.shape[1], one.shape[2] // parts) for one in (query, keys))
    return is_supported(
        *shapes,
        heads=heads // parts,
        bytes_each=query.dtype.itemsize,
        platform=platform,
        kind=device.device_kind,
    )


def fused(
    query: Float[Array, "batch queries width"],
    keys: Float[Array, "batch keys width"],
    values: Float[Array, "batch keys width"],
    bias: PositionBias | None,
    visible: Visible,
    heads: int,
    mesh: Mesh,
    *,
    interpret: Platform | None = None,
) -> Float[Array, "batch queries width"]:
    """Returns attention as `plain_attention` does, without writing scores to memory.

    Args:
        query, keys, values: all heads side by side: `width` is heads times head.
        bias: biases by relative position; None for no bias.
        visible: which keys a query attends to.
        heads: number of heads.
        mesh: the devices.
        interpret: kind of device whose kernel is run on any other, slowly, for tests.
    """
    is_key, causal, query_example, key_example = visible
    setting = Setting(
        heads=heads // mesh.shape["model"],
        bidirectional=bias is not None and bias.bidirectional,
        causal=causal,
        platform=interpret or KERNELS[mesh.devices.flat[0].platform],
        interpret=interpret is not None,
    )
    biases = None if bias is None else bias.biases
    numbers = example_numbers(is_key, query_example, key_example)
    return _fused(setting, mesh, Arguments(query, keys, values, biases, numbers))


def _forward(setting: Setting, mesh: Mesh, arguments: Arguments) -> tuple[Array, Any]:
    def on_device(arguments: Arguments) -> tuple[Array, Array]:
        return attention_forward(arguments, setting)

    run = on_devices(on_device, mesh, (IN_SPECS,), (ROWS, PER_HEAD))
    output, statistics = run(arguments)
    output = checkpoint_name(output, ATTENDED)
    return output, (arguments, output, checkpoint_name(statistics, STATISTICS))


def _backward(setting: Setting, mesh: Mesh, kept: Any, cotangent: Array) -> tuple[Arguments]:
    def on_device(arguments: Arguments, output: Array, statistics: Array, cotangent: Array):
        gradients = attention_backward(arguments, output, statistics, cotangent, setting)
        if gradients.table is None:
            return gradients
        return gradients._replace(table=jax.lax.psum(gradients.table, BATCH_AXES))

    out_specs = IN_SPECS._replace(numbers=Numbers(None, None))
    run = on_devices(on_device, mesh, (IN_SPECS, ROWS, PER_HEAD, ROWS), out_specs)
    return (run(*kept, cotangent),)


def _value(setting: Setting, mesh: Mesh, arguments: Arguments) -> Array:
    return _forward(setting, mesh, arguments)[0]


_fused: Any = jax.custom_vjp(_value, nondiff_argnums=(0, 1))
_fused.defvjp(_forward, _backward)
