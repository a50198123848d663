"""Multi-head attention as in T5: no biases, no 1/sqrt(head), scores and softmax in float32.

The missing scale is folded into the initialization of the query, whose variance is smaller by
`head`. Between the projections all heads lie side by side, in a dimension `width`.

On CPUs attention is computed as written in the paper, which is the reference too: the scores of all
pairs of positions are written to memory. On TPUs and GPUs that was more than half of a step's
traffic, so there `model/kernels/` computes it: nothing of size `queries x keys` is written, forward
or backward, and the gradient of the bias table is summed inside. Where these devices have no kernel
(heads or rows that are too long, a JAX without its compiler), the reference is computed a block of
queries at a time.

With a kernel each device has its own rows and heads, and sends nothing but the gradient of the bias
table, which is summed over the devices of the batch. The derivative is written outside of the
`shard_map`s, where rematerialization can keep what the backward kernel needs.
"""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import Visible
from model.config import ModelConfig
from model.kernels.arguments import PADDING, Arguments, Numbers, Platform, Setting
from model.layers.feed_forward import NO_DROPOUT, Dropout
from model.layers.position_bias import PositionBias, along_diagonals, by_offset
from model.layers.products import kernel, product, summed_in_float32
from model.remat import ATTENDED, MULTIPLIED, STATISTICS
from model.sharding.exchanges import on_devices
from model.sharding.layouts import BATCH_AXES, spec

MASKED = -1e9  # finite: a row of padding alone gives a uniform softmax instead of NaN
INTO_HEADS = "batch length embed, embed width -> batch length width"
OUT_OF_HEADS = "batch length width, width embed -> batch length embed"

BLOCK = 128  # queries whose scores are in memory at one time, where there is no kernel
KERNELS: dict[str, Platform] = {"tpu": "tpu", "gpu": "gpu", "cuda": "gpu"}  # by JAX's name
ROWS: Any = spec("batch length width")
PER_HEAD: Any = spec("batch heads")  # statistics, whose further dimensions differ by platform
PER_TOKEN: Any = spec("batch length")
IN_SPECS = Arguments(ROWS, ROWS, ROWS, spec("buckets heads"), Numbers(PER_TOKEN, PER_TOKEN))  # pyright: ignore[reportArgumentType]


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


def attend_in_blocks(
    query: Float[Array, "batch queries width"],
    keys: Float[Array, "batch keys width"],
    values: Float[Array, "batch keys width"],
    bias: PositionBias | None,
    visible: Visible,
    heads: int,
) -> Float[Array, "batch queries width"]:
    """Returns attention as `plain_attention` does, a block of queries at a time.

    The largest array is [batch, heads, block, keys]: backward, a block's scores are computed again.
    Of the biases there is one number per offset, and so of their gradient.

    Args:
        query, keys, values: all heads side by side: `width` is heads times head.
        bias: biases by relative position; None for no bias.
        visible: which keys a query attends to.
        heads: number of heads.
    """
    queries, length = query.shape[1], keys.shape[1]
    padded = -(-queries // BLOCK) * BLOCK
    offsets = None
    if bias is not None:
        offsets = by_offset(bias.biases, np.arange(1 - padded, length), bias.bidirectional)

    def attend(block: tuple[Array, Array, Array | None]) -> Array:
        first, rows, examples = block
        biases = None
        if offsets is not None:
            near = jax.lax.dynamic_slice_in_dim(
                offsets, padded - BLOCK - first, BLOCK + length - 1, axis=1
            )
            biases = along_diagonals(near, BLOCK, length)
        mask = visible._replace(query_example=examples).mask(BLOCK, length, first)
        return plain_attention(rows, keys, values, biases, mask, heads)

    def cut(rows: Array | None) -> Array | None:
        if rows is None:
            return None
        rest = ((0, 0),) * (rows.ndim - 2)
        whole = jnp.pad(rows, ((0, 0), (0, padded - queries), *rest))
        return jnp.moveaxis(whole.reshape(len(rows), -1, BLOCK, *rows.shape[2:]), 1, 0)

    blocks = jnp.arange(0, padded, BLOCK), cut(query), cut(visible.query_example)
    mixed = jax.lax.map(jax.checkpoint(attend, prevent_cse=False), blocks)
    return jnp.moveaxis(mixed, 0, 1).reshape(len(query), padded, -1)[:, :queries]


def has_kernel(query: Array, keys: Array, heads: int, mesh: Mesh) -> bool:
    """Returns whether these devices have a fused kernel for arrays of these shapes."""
    device = mesh.devices.flat[0]
    platform = KERNELS.get(device.platform)
    if platform is None:
        return False
    parts = mesh.shape["model"]
    query_shape, key_shape = (
        (*array.shape[:2], array.shape[2] // parts) for array in (query, keys)
    )
    kernels = _kernels(platform)
    return kernels is not None and kernels.is_supported(
        query_shape, key_shape, heads // parts, query.dtype.itemsize, device.device_kind
    )


def _kernels(platform: Platform) -> Any:
    """Returns the module of a platform's kernels; None if JAX has no longer what it needs.

    JAX 0.12 says that Pallas will lose Triton, which those for GPUs are written in.
    """
    if platform == "tpu":
        from model.kernels import tpu

        return tpu
    try:
        from model.kernels import gpu
    except ImportError:
        return None
    return gpu


def attend_by_kernel(
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
    numbers = _example_numbers(is_key, query_example, key_example)
    return _fused_attention(setting, mesh, Arguments(query, keys, values, biases, numbers))


def _example_numbers(
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused_attention(setting: Setting, mesh: Mesh, arguments: Arguments) -> Array:
    return _fused_forward(setting, mesh, arguments)[0]


def _fused_forward(setting: Setting, mesh: Mesh, arguments: Arguments) -> tuple[Array, Any]:
    def on_device(arguments: Arguments) -> tuple[Array, Array]:
        return _kernels(setting.platform).forward(arguments, setting)

    run = on_devices(on_device, mesh, (IN_SPECS,), (ROWS, PER_HEAD))
    output, statistics = run(arguments)
    output = checkpoint_name(output, ATTENDED)
    return output, (arguments, output, checkpoint_name(statistics, STATISTICS))


def _fused_backward(setting: Setting, mesh: Mesh, kept: Any, cotangent: Array) -> tuple[Arguments]:
    def on_device(arguments: Arguments, output: Array, statistics: Array, cotangent: Array):
        backward = _kernels(setting.platform).backward
        gradients = backward(arguments, output, statistics, cotangent, setting)
        if gradients.table is None:
            return gradients
        return gradients._replace(table=jax.lax.psum(gradients.table, BATCH_AXES))

    out_specs = IN_SPECS._replace(numbers=Numbers(None, None))
    run = on_devices(on_device, mesh, (IN_SPECS, ROWS, PER_HEAD, ROWS), out_specs)
    return (run(*kept, cotangent),)


_fused_attention.defvjp(_fused_forward, _fused_backward)


class KeysValues(NamedTuple):
    """Projected keys and values, which generation caches."""

    keys: Float[Array, "batch keys width"]
    values: Float[Array, "batch keys width"]


class Attention(eqx.Module):
    """Self-attention, or cross-attention if `source` is the encoder's output."""

    query: Float[Array, "embed heads head"]
    key: Float[Array, "embed heads head"]
    value: Float[Array, "embed heads head"]
    output: Float[Array, "heads head embed"]

    @staticmethod
    def init(config: ModelConfig, *, key: Key[Array, ""]) -> "Attention":
        """Draws the four projections."""
        embed, heads, head = config.embed, config.heads, config.head
        scale = config.initialization_scale
        keys = jax.random.split(key, 4)
        inward = (embed, heads, head)
        return Attention(
            query=kernel(inward, fan_in=embed, scale=scale / head, key=keys[0]),
            key=kernel(inward, fan_in=embed, scale=scale, key=keys[1]),
            value=kernel(inward, fan_in=embed, scale=scale, key=keys[2]),
            output=kernel((heads, head, embed), fan_in=heads * head, scale=scale, key=keys[3]),
        )

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.query.shape[-2]

    def __call__(
        self,
        x: Float[Array, "batch queries embed"],
        source: Float[Array, "batch keys embed"],
        bias: PositionBias | None,
        visible: Visible,
        mesh: Mesh,
        dropout: Dropout = NO_DROPOUT,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to the positions of `source` that are visible to it."""
        into_heads = self._into_heads(self.query, x, mesh)
        keys, values = self.keys_values(source, mesh)
        values = dropout.of_values(values, self.heads)
        if has_kernel(into_heads, keys, self.heads, mesh):
            mixed = attend_by_kernel(into_heads, keys, values, bias, visible, self.heads, mesh)
            return self._out_of_heads(mixed, mesh)
        if mesh.devices.flat[0].platform in KERNELS:
            mixed = attend_in_blocks(into_heads, keys, values, bias, visible, self.heads)
        else:
            lengths = x.shape[1], source.shape[1]
            biases = None if bias is None else bias(*lengths)
            mask = visible.mask(*lengths)
            mixed = plain_attention(into_heads, keys, values, biases, mask, self.heads)
        return self._out_of_heads(checkpoint_name(mixed, ATTENDED), mesh)

    def keys_values(self, source: Float[Array, "batch keys embed"], mesh: Mesh) -> KeysValues:
        """Projects the keys and values of `source`."""
        return KeysValues(
            keys=self._into_heads(self.key, source, mesh),
            values=self._into_heads(self.value, source, mesh),
        )

    def attend(
        self,
        x: Float[Array, "batch queries embed"],
        source: KeysValues,
        bias: Float[Array, "heads #queries keys"] | None,
        mask: Bool[Array, "#batch #queries keys"],
        mesh: Mesh,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to cached keys and values."""
        query = self._into_heads(self.query, x, mesh)
        return self._out_of_heads(plain_attention(query, *source, bias, mask, self.heads), mesh)

    def _into_heads(self, weight, x, mesh: Mesh):
        flat = weight.reshape(weight.shape[0], -1)
        return checkpoint_name(product(INTO_HEADS, x, flat, mesh), ATTENDED)

    def _out_of_heads(self, mixed, mesh: Mesh):
        flat = self.output.reshape(-1, self.output.shape[-1])
        return checkpoint_name(product(OUT_OF_HEADS, mixed, flat, mesh), MULTIPLIED)
