"""The fused attention kernel on a mesh: each device has its own rows and heads, nothing is sent."""

from typing import NamedTuple

from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from model.batch import Visible
from model.dimensions import declared_names
from model.kernels.attention import Platform, fused_attention, is_supported
from model.layers.position_bias import PositionBias
from model.sharding import over_devices

KERNELS: dict[str, Platform] = {"tpu": "tpu", "gpu": "gpu", "cuda": "gpu"}  # by JAX's name


class DeviceInputs(NamedTuple):
    """The inputs of one device; dimension names also define how the whole arrays are split."""

    query: Float[Array, "batch length width"]
    keys: Float[Array, "batch length width"]
    values: Float[Array, "batch length width"]
    table: Float[Array, "buckets heads"] | None
    is_key: Bool[Array, "batch length"] | None
    query_example: Int[Array, "batch length"] | None
    key_example: Int[Array, "batch length"] | None


def has_kernel(query: Array, keys: Array, heads: int, mesh: Mesh) -> bool:
    """Returns whether these devices have a fused kernel for arrays of these shapes."""
    platform = KERNELS.get(mesh.devices.flat[0].platform)
    if platform is None:
        return False
    parts = mesh.shape["model"]
    shapes = ((len(one), one.shape[1], one.shape[2] // parts) for one in (query, keys))
    return is_supported(
        *shapes, heads=heads // parts, bytes_each=query.dtype.itemsize, platform=platform
    )


def fused(
    query: Float[Array, "batch queries width"],
    keys: Float[Array, "batch keys width"],
    values: Float[Array, "batch keys width"],
    bias: PositionBias | None,
    visible: Visible,
    heads: int,
    mesh: Mesh,
) -> Float[Array, "batch queries width"]:
    """Returns attention as `plain_attention` does, without writing scores to memory."""

    def on_device(inputs: DeviceInputs) -> Float[Array, "batch length width"]:
        return fused_attention(
            *inputs,
            heads=heads // mesh.shape["model"],
            bidirectional=bias is not None and bias.bidirectional,
            causal=visible.causal,
            platform=KERNELS[mesh.devices.flat[0].platform],
        )

    # Unchecked: a kernel does not state along which axes its results differ. The table is whole on
    # devices of the batch's axes, so its gradient is summed over them.
    names = declared_names(DeviceInputs)
    run = over_devices(on_device, mesh, (names,), names.query, checked=False)
    table = None if bias is None else bias.table
    is_key, _, query_example, key_example = visible
    return run(DeviceInputs(query, keys, values, table, is_key, query_example, key_example))
