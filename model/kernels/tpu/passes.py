"""Attention with T5's bias on a TPU: one kernel forward, one backward, in Pallas for Mosaic.

Both hold all keys of a head, so a softmax is complete in one step and no `queries x keys` array
leaves the chip. The forward pass keeps one number per query and head, the logarithm of the sum of
exponentials; the backward pass computes the probabilities anew.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from model.kernels.arguments import Arguments, Numbers, Setting
from model.kernels.bias import by_bucket, by_offset
from model.kernels.cost import Operand, estimate
from model.kernels.inputs import Inputs
from model.kernels.tpu import bodies
from model.kernels.tpu.blocks import BACKWARD, FORWARD, MEMORY, OF_V4, Tile, TpuBlocks


def is_supported(
    query: tuple[int, ...], keys: tuple[int, ...], heads: int, item: int, kind: str
) -> bool:
    """Returns whether what both passes hold fits the memory."""
    both = (_blocks(query, keys, heads, item, tile) for tile in (FORWARD, BACKWARD))
    memory = OF_V4 if kind == "TPU v4" else MEMORY
    return all(blocks.memory <= memory for blocks in both)


def forward(arguments: Arguments, setting: Setting):
    """Returns the output and each query's logarithm of the sum of exponentials."""
    inputs, blocks = _inputs(arguments, setting, FORWARD)
    return _forward(inputs, blocks, causal=setting.causal, interpret=setting.interpret)


def backward(arguments: Arguments, output, statistics, gradient, setting: Setting) -> Arguments:
    """Returns the gradients of queries, keys, values and table."""
    inputs, blocks = _inputs(arguments, setting, BACKWARD)
    of_query, of_keys, of_values, of_biases = _backward(
        inputs,
        statistics,
        output,
        gradient,
        blocks,
        causal=setting.causal,
        interpret=setting.interpret,
    )
    of_table = None
    if arguments.table is not None:
        of_biases = of_biases.reshape(-1, len(blocks.offsets))[: setting.heads]
        buckets, dtype = arguments.table.shape[0], arguments.table.dtype
        of_table = by_bucket(of_biases, blocks.offsets, setting.bidirectional, buckets)
        of_table = of_table.astype(dtype)
    return Arguments(of_query, of_keys, of_values, of_table, Numbers(None, None))


def _blocks(
    query: tuple[int, ...], keys: tuple[int, ...], heads: int, item: int, tile: Tile
) -> TpuBlocks:
    batch, queries, width = query
    return TpuBlocks(batch, queries, keys[1], heads, width // heads, item, tile)


def _inputs(arguments: Arguments, setting: Setting, tile: Tile) -> tuple[Inputs, TpuBlocks]:
    query, keys, values, table, numbers = arguments
    blocks = _blocks(query.shape, keys.shape, setting.heads, query.dtype.itemsize, tile)
    biases = None
    if table is not None:
        biases = by_offset(table, blocks.offsets, setting.bidirectional)
        filled = blocks.head_blocks * blocks.together - blocks.heads
        biases = jnp.pad(biases, ((0, filled), (0, 0))).reshape(blocks.biases.array.shape)
    of_queries, of_keys = (None if x is None else x[:, None, :] for x in numbers)
    return Inputs(query, keys, values, biases, of_queries, of_keys), blocks


def _forward(inputs: Inputs, blocks: TpuBlocks, *, causal: bool, interpret: bool):
    """Returns the output and each query's logarithm of the sum of exponentials."""
    return _call(
        functools.partial(bodies.forward, blocks=blocks, causal=causal),
        (inputs,),
        (blocks.operands(inputs),),
        (blocks.query_like(inputs.query.dtype), blocks.statistics),
        (_band(inputs, blocks),),
        blocks,
        products=2,
        name="fused_attention",
        interpret=interpret,
    )


def _backward(
    inputs: Inputs,
    statistics,
    output,
    gradient,
    blocks: TpuBlocks,
    *,
    causal: bool,
    interpret: bool,
):
    """Returns the gradients of queries, keys, values and biases; the last None without bias."""
    operands = blocks.operands(inputs)
    sums = pltpu.VMEM((blocks.columns, blocks.width), jnp.float32)
    band = _band(inputs, blocks)
    return _call(
        functools.partial(bodies.backward, blocks=blocks, causal=causal),
        (inputs, statistics, output, gradient),
        (operands, blocks.statistics, operands.query, operands.query),
        (operands.query, operands.keys, operands.values, operands.biases),
        (sums, sums, band, band),
        blocks,
        products=5,
        name="fused_attention_gradient",
        interpret=interpret,
    )


def _call(
    kernel, arrays, inputs, outputs, scratch, blocks: TpuBlocks, *, products, name, interpret
):
    is_operand = lambda x: isinstance(x, Operand)  # noqa: E731
    operands = jax.tree.leaves((inputs, outputs), is_leaf=is_operand)
    specs = functools.partial(jax.tree.map, lambda x: x.spec, is_leaf=is_operand)
    return pl.pallas_call(
        kernel,
        grid=blocks.grid,
        in_specs=specs(inputs),
        out_specs=specs(outputs),
        out_shape=jax.tree.map(lambda x: x.array, outputs, is_leaf=is_operand),
        scratch_shapes=scratch,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=estimate(
            blocks.grid,
            operands,
            flops=products * 2 * blocks.scores * blocks.head,
            exponentials=blocks.scores,
        ),
        name=name,
        interpret=interpret,
    )(*arrays)


def _band(inputs: Inputs, blocks: TpuBlocks) -> Any:
    if inputs.biases is None:
        return None
    return pltpu.VMEM((blocks.together, blocks.chunks * blocks.rows, blocks.rows), jnp.float32)
