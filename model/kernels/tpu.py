"""Attention with T5's bias on a TPU: one kernel forward, one backward, in Pallas for Mosaic.

Both hold all keys of a head, so a softmax is complete in one step and no `queries x keys` array
leaves the chip. The forward pass keeps one number per query and head, the logarithm of the sum of
exponentials; the backward pass computes the probabilities anew.

A query whose keys are all masked is marked by `MASKED` in the statistics: its probabilities are
uniform and its scores have no gradient.

First comes what one step of the grid computes, then the passes.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from model.kernels import tpu_tiles
from model.kernels.arguments import (
    MASKED,
    Arguments,
    Inputs,
    Numbers,
    Setting,
    estimate,
    map_operands,
    operand_list,
)
from model.kernels.tpu_tiles import (
    BACKWARD,
    FORWARD,
    MEMORY,
    OF_V4,
    Tile,
    TpuBlocks,
    head_lanes,
    product,
    scores,
)
from model.layers.position_bias import by_bucket, by_offset


def forward_body(inputs: Inputs, output, statistics, band, *, blocks: TpuBlocks, causal: bool):
    """Computes a block of the output and its logarithms of the sums of exponentials."""
    if band is not None:
        pl.when(_is_first())(lambda: tpu_tiles.fill(band, inputs.biases, blocks))
    block = tpu_tiles.inside_queries(inputs.query[0], blocks)
    parts = tpu_tiles.parts(inputs, blocks, causal)
    turned = [jnp.transpose(part.values) for part in parts]
    mixed = []
    for number in range(blocks.together):
        query = head_lanes(block, number, blocks.head)
        head_scores = [
            part.mask(scores(part, query, number, band, blocks), MASKED) for part in parts
        ]
        largest = [jnp.max(x, axis=0, keepdims=True) for x in head_scores]
        most = functools.reduce(jnp.maximum, largest)
        lanes = slice(number * blocks.head, (number + 1) * blocks.head)
        total, sums = 0.0, 0.0
        for x, values in zip(head_scores, turned, strict=True):
            weights = jnp.exp(x - most)
            total += jnp.sum(weights, axis=0, keepdims=True)
            sums += product(values[lanes], weights.astype(values.dtype), (1, 0))
        mixed.append(sums / total)
        row = jnp.where(most <= MASKED / 2, MASKED, most + jnp.log(total))
        statistics[0, 0, pl.ds(number, 1), :] = row
    output[0] = jnp.transpose(jnp.concatenate(mixed, axis=0)).astype(output.dtype)


def backward_body(
    inputs: Inputs,
    statistics,
    output,
    gradient,
    query_gradient,
    key_gradient,
    value_gradient,
    bias_gradient,
    key_sums,
    value_sums,
    band,
    band_sums,
    *,
    blocks: TpuBlocks,
    causal: bool,
):
    """Computes a block of the queries' gradient and adds to those of keys, values and biases.

    What it adds to is written in the last step that uses it.
    """
    if band is not None:
        pl.when(_is_first())(lambda: tpu_tiles.fill(band, inputs.biases, blocks))
        pl.when(_is_first())(lambda: _clear(band_sums))
    pl.when(pl.program_id(2) == 0)(lambda: _clear(key_sums, value_sums))
    block = tpu_tiles.inside_queries(inputs.query[0], blocks)
    along_all = tpu_tiles.inside_queries(gradient[0], blocks)
    out = tpu_tiles.inside_queries(output[0], blocks)
    dots = jnp.transpose(out.astype(jnp.float32) * along_all.astype(jnp.float32))
    parts = tpu_tiles.parts(inputs, blocks, causal)
    mixed = []
    for number in range(blocks.together):
        lanes = slice(number * blocks.head, (number + 1) * blocks.head)
        query = head_lanes(block, number, blocks.head)
        along = head_lanes(along_all, number, blocks.head)
        dot = jnp.sum(dots[lanes], axis=0, keepdims=True)
        row, uniform = _statistics(statistics[0, 0, pl.ds(number, 1), :], blocks)
        total = 0.0
        for part in parts:
            part_scores = scores(part, query, number, band, blocks)
            masked = part.mask(part_scores, jnp.where(uniform, 0.0, MASKED))
            weights = jnp.exp(masked - row)
            score_gradient = weights * (product(part.values, along, (1, 1)) - dot)
            if part.allowed is not None:
                score_gradient = score_gradient * jnp.where(uniform, 0.0, 1.0)
            if band is not None:
                band_sums[number, tpu_tiles.window(part, blocks), :] += score_gradient
            score_gradient = score_gradient.astype(query.dtype)
            value_sums[part.rows, :] += product(weights.astype(query.dtype), along, (1, 0))
            key_sums[part.rows, :] += product(score_gradient, query, (1, 0))
            total += product(jnp.transpose(part.keys)[lanes], score_gradient, (1, 0))
        mixed.append(total)
    query_gradient[0] = jnp.transpose(jnp.concatenate(mixed, axis=0)).astype(query_gradient.dtype)
    pl.when(pl.program_id(2) == blocks.query_blocks - 1)(
        lambda: _write((key_gradient, key_sums), (value_gradient, value_sums))
    )
    if band is not None:
        pl.when(_is_last(blocks))(lambda: tpu_tiles.sum_diagonals(band_sums, bias_gradient, blocks))


def _statistics(row, blocks: TpuBlocks):
    """Returns logarithms of sums, and which queries have no key that is not masked."""
    uniform = row <= MASKED / 2
    row = jnp.where(uniform, math.log(blocks.keys), row)
    if blocks.query_blocks * blocks.rows > blocks.queries:
        position = jax.lax.broadcasted_iota(jnp.int32, row.shape, 1)
        exists = position < blocks.queries - pl.program_id(2) * blocks.rows
        row = jnp.where(exists, row, -MASKED)  # probabilities of 0
    return row, uniform


def _is_first():
    return (pl.program_id(1) == 0) & (pl.program_id(2) == 0)


def _is_last(blocks: TpuBlocks):
    return (pl.program_id(1) == blocks.batch - 1) & (pl.program_id(2) == blocks.query_blocks - 1)


def _clear(*sums) -> None:
    for reference in sums:
        reference[...] = jnp.zeros_like(reference)


def _write(*outputs) -> None:
    for reference, sums in outputs:
        reference[0] = sums[...].astype(reference.dtype)


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
    return _call(
        forward_body,
        (inputs,),
        (blocks.operands(inputs),),
        (blocks.query_like(inputs.query.dtype), blocks.statistics),
        (_band(inputs, blocks),),
        blocks,
        setting,
        products=2,
        name="fused_attention",
    )


def backward(arguments: Arguments, output, statistics, gradient, setting: Setting) -> Arguments:
    """Returns the gradients of queries, keys, values and table."""
    inputs, blocks = _inputs(arguments, setting, BACKWARD)
    operands, band = blocks.operands(inputs), _band(inputs, blocks)
    sums = pltpu.VMEM((blocks.columns, blocks.width), jnp.float32)
    query_gradient, key_gradient, value_gradient, bias_gradient = _call(
        backward_body,
        (inputs, statistics, output, gradient),
        (operands, blocks.statistics, operands.query, operands.query),
        (operands.query, operands.keys, operands.values, operands.biases),
        (sums, sums, band, band),
        blocks,
        setting,
        products=5,
        name="fused_attention_gradient",
    )
    table, table_gradient = arguments.table, None
    if table is not None:
        bias_gradient = bias_gradient.reshape(-1, len(blocks.offsets))[: setting.heads]
        table_gradient = by_bucket(
            bias_gradient, blocks.offsets, setting.bidirectional, table.shape[0]
        ).astype(table.dtype)
    return Arguments(
        query_gradient, key_gradient, value_gradient, table_gradient, Numbers(None, None)
    )


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
    rows = (None if x is None else x[:, None, :] for x in numbers)
    return Inputs(query, keys, values, biases, *rows), blocks


def _call(
    kernel,
    arrays,
    inputs,
    outputs,
    scratch,
    blocks: TpuBlocks,
    setting: Setting,
    *,
    products,
    name,
):
    return pl.pallas_call(
        functools.partial(kernel, blocks=blocks, causal=setting.causal),
        grid=blocks.grid,
        in_specs=map_operands(lambda operand: operand.spec, inputs),
        out_specs=map_operands(lambda operand: operand.spec, outputs),
        out_shape=map_operands(lambda operand: operand.array, outputs),
        scratch_shapes=scratch,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=estimate(
            blocks.grid,
            operand_list(inputs, outputs),
            flops=products * 2 * blocks.scores * blocks.head,
            exponentials=blocks.scores,
        ),
        name=name,
        interpret=setting.interpret,
    )(*arrays)


def _band(inputs: Inputs, blocks: TpuBlocks) -> Any:
    if inputs.biases is None:
        return None
    return pltpu.VMEM((blocks.together, blocks.chunks * blocks.rows, blocks.rows), jnp.float32)
