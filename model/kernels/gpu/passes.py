"""Attention with T5's bias on a GPU: one kernel forward, two backward, in Pallas for Triton."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from model.kernels.arguments import Arguments, Numbers, Setting
from model.kernels.bias import by_offset, segments
from model.kernels.cost import Operand, estimate
from model.kernels.gpu import bodies
from model.kernels.gpu.blocks import GpuBlocks
from model.kernels.inputs import Inputs

WIDEST = 128  # columns of a head, as in T5's largest models


def is_supported(
    query: tuple[int, ...], keys: tuple[int, ...], heads: int, item: int, kind: str
) -> bool:
    """Returns whether a tile of a head fits the registers: any length does."""
    del keys, item, kind
    return query[2] // heads <= WIDEST


def forward(arguments: Arguments, setting: Setting):
    """Returns the output and each query's logarithm of the sum of exponentials."""
    inputs, blocks = _inputs(arguments, setting)
    output, statistics = _call(
        bodies.forward,
        (inputs,),
        (blocks.operands(inputs, "keys"),),
        (blocks.tile(blocks.queries, inputs.query.dtype), blocks.statistics),
        blocks.query_grid,
        blocks,
        setting,
        products=2,
        name="fused_attention",
    )
    return output.reshape(arguments.query.shape), statistics


def backward(arguments: Arguments, output, statistics, gradient, setting: Setting) -> Arguments:
    """Returns the gradients of queries, keys, values and table."""
    inputs, blocks = _inputs(arguments, setting)
    output, gradient = (x.reshape(inputs.query.shape) for x in (output, gradient))
    of_query, dots, sums = _of_queries(inputs, output, statistics, gradient, blocks, setting)
    of_keys, of_values = _of_keys(inputs, statistics, gradient, dots, blocks, setting)
    return Arguments(
        of_query.reshape(arguments.query.shape),
        of_keys.reshape(arguments.keys.shape),
        of_values.reshape(arguments.values.shape),
        None if arguments.table is None else _of_table(sums, arguments.table, setting),
        Numbers(None, None),
    )


def _of_queries(inputs: Inputs, output, statistics, gradient, blocks: GpuBlocks, setting: Setting):
    tile = blocks.tile(blocks.queries, output.dtype)
    found = sums = None
    if inputs.biases is not None:
        starts, ends, _ = segments(setting.bidirectional)
        found, sums = jnp.stack([starts, ends]), blocks.segment_sums(len(starts))
    return _call(
        bodies.of_queries,
        (inputs, output, statistics, gradient, found),
        (
            blocks.operands(inputs, "keys"),
            tile,
            blocks.statistics,
            tile,
            None if found is None else blocks.segments(found.shape[1]),
        ),
        (tile, blocks.statistics, sums),
        blocks.query_grid,
        blocks,
        setting,
        products=3,
        name="fused_attention_query_gradient",
    )


def _of_keys(inputs: Inputs, statistics, gradient, dots, blocks: GpuBlocks, setting: Setting):
    tile = blocks.tile(blocks.keys, gradient.dtype)
    whole, rows = blocks.whole(blocks.queries, gradient.dtype), blocks.all_statistics
    return _call(
        bodies.of_keys,
        (inputs, statistics, gradient, dots),
        (blocks.operands(inputs, "queries"), rows, whole, rows),
        (tile, tile),
        blocks.key_grid,
        blocks,
        setting,
        products=4,
        name="fused_attention_key_gradient",
    )


def _of_table(sums, table, setting: Setting):
    buckets = segments(setting.bidirectional).buckets
    chosen = (buckets == np.arange(table.shape[0])[:, None]).astype(np.float32)
    total = jnp.sum(sums, axis=(0, 2))
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("hs,bs->bh", total, chosen, precision=exact).astype(table.dtype)


def _call(
    kernel, arrays, inputs, outputs, grid, blocks: GpuBlocks, setting: Setting, *, products, name
):
    is_operand = lambda x: isinstance(x, Operand)  # noqa: E731
    operands = jax.tree.leaves((inputs, outputs), is_leaf=is_operand)
    specs = functools.partial(jax.tree.map, lambda x: x.spec, is_leaf=is_operand)
    cost = estimate(
        grid,
        operands,
        flops=products * 2 * blocks.scores * blocks.head,
        exponentials=blocks.scores,
        first_fastest=True,
    )
    return pl.pallas_call(
        functools.partial(kernel, blocks=blocks, causal=setting.causal),
        grid=grid,
        in_specs=specs(inputs),
        out_specs=specs(outputs),
        out_shape=jax.tree.map(lambda x: x.array, outputs, is_leaf=is_operand),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        cost_estimate=cost,
        metadata={name: str(value) for name, value in dataclasses.asdict(cost).items()},
        name=name,
        interpret=setting.interpret,
    )(*arrays)


def _inputs(arguments: Arguments, setting: Setting) -> tuple[Inputs, GpuBlocks]:
    query, keys, values, table, numbers = arguments
    batch, queries, width = query.shape
    # A query whose keys are all masked attends uniformly to all keys, later ones included. So tiles
    # of later keys may be skipped only where no key is masked.
    skips = setting.causal and numbers.keys is None
    heads, head = setting.heads, width // setting.heads
    blocks = GpuBlocks(batch, queries, keys.shape[1], heads, head, skips)
    query, keys, values = (x.reshape(*x.shape[:2], heads, head) for x in (query, keys, values))
    biases = None if table is None else by_offset(table, blocks.offsets, setting.bidirectional)
    return Inputs(query, keys, values, biases, numbers.queries, numbers.keys), blocks
