"""Attention with T5's bias on a GPU: one kernel forward, two backward, in Pallas for Triton.

The forward pass takes a tile of queries over all keys with a running maximum and sum. Backward,
one kernel takes a tile of queries over the keys, for the gradients of queries and biases, and one a
tile of keys over the queries: no thread block adds to what another one writes, so the sums are the
same in every run.

A query whose keys are all masked is marked by `MASKED` in the statistics: its probabilities are
uniform and its scores have no gradient.

First comes what one thread block computes, then the passes.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

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
from model.kernels.gpu_tiles import (
    TILE,
    GpuBlocks,
    load,
    load_row,
    mask_scores,
    offsets,
    scores,
    store,
)
from model.layers.position_bias import by_offset, segments

WIDEST = 128  # columns of a head, as in T5's largest models


def forward_body(inputs: Inputs, output, statistics, *, blocks: GpuBlocks, causal: bool):
    """Computes a tile of the output and its logarithms of the sums of exponentials."""
    tile, head = pl.program_id(0), blocks.head
    query = load(inputs.query, tile, blocks.queries, head)

    def pass_over(key_tile, carry):
        mixed, most, total = carry
        keys = load(inputs.keys, key_tile, blocks.keys, head, key_tile * TILE)
        values = load(inputs.values, key_tile, blocks.keys, head, key_tile * TILE)
        tiles = tile, key_tile
        tile_scores = scores(inputs, query, keys, tiles, blocks)
        tile_scores = mask_scores(tile_scores, MASKED, tiles, inputs, blocks, causal=causal)
        new_most = jnp.maximum(most, jnp.max(tile_scores, axis=1))
        shrunk = jnp.exp(most - new_most)
        weights = jnp.exp(tile_scores - new_most[:, None])
        mixed = mixed * shrunk[:, None] + plgpu.dot(weights.astype(values.dtype), values)
        return mixed, new_most, total * shrunk + jnp.sum(weights, axis=1)

    zeros = jnp.zeros(query.shape, jnp.float32)
    start = zeros, jnp.full(TILE, -jnp.inf, jnp.float32), jnp.zeros(TILE, jnp.float32)
    mixed, most, total = jax.lax.fori_loop(0, _key_tiles(tile, blocks), pass_over, start)
    store(output, tile, blocks.queries, head, mixed / total[:, None])
    row = jnp.where(most <= MASKED / 2, MASKED, most + jnp.log(total))
    _store_row(statistics, tile, blocks.queries, row)


def queries_body(
    inputs: Inputs,
    output,
    statistics,
    gradient,
    segments,
    query_gradient,
    dots,
    sums,
    *,
    blocks: GpuBlocks,
    causal: bool,
):
    """Computes the gradient of a tile of queries, and its part of the biases' gradient.

    Also its products of the output with the output's gradient, which the other kernel needs.
    """
    tile, head = pl.program_id(0), blocks.head
    query = load(inputs.query, tile, blocks.queries, head)
    along = load(gradient, tile, blocks.queries, head)
    mixed = load(output, tile, blocks.queries, head)
    dot = jnp.sum(mixed.astype(jnp.float32) * along.astype(jnp.float32), axis=1)
    _store_row(dots, tile, blocks.queries, dot)
    row = load_row(statistics, tile, blocks.queries, -MASKED)

    def pass_over(key_tile, carry):
        total, by_segment = carry
        keys = load(inputs.keys, key_tile, blocks.keys, head, key_tile * TILE)
        values = load(inputs.values, key_tile, blocks.keys, head, key_tile * TILE)
        tiles = tile, key_tile
        tile_scores = scores(inputs, query, keys, tiles, blocks)
        weights = _weights(tile_scores, row, tiles, inputs, blocks, causal)
        score_gradient = _score_gradient(weights, plgpu.dot(along, values.T), row, dot)
        if segments is not None:
            by_segment = _add_segments(by_segment, score_gradient, offsets(tiles), tiles, segments)
        return total + plgpu.dot(score_gradient.astype(keys.dtype), keys), by_segment

    by_segment = None if segments is None else jnp.zeros(sums.shape, jnp.float32)
    start = jnp.zeros(query.shape, jnp.float32), by_segment
    total, by_segment = jax.lax.fori_loop(0, _key_tiles(tile, blocks), pass_over, start)
    store(query_gradient, tile, blocks.queries, head, total)
    if segments is not None:
        sums[...] = by_segment


def keys_body(
    inputs: Inputs,
    statistics,
    gradient,
    dots,
    key_gradient,
    value_gradient,
    *,
    blocks: GpuBlocks,
    causal: bool,
):
    """Computes the gradients of a tile of keys and values."""
    tile, head = pl.program_id(0), blocks.head
    keys = load(inputs.keys, tile, blocks.keys, head)
    values = load(inputs.values, tile, blocks.keys, head)

    def pass_over(query_tile, carry):
        key_total, value_total = carry
        first = query_tile * TILE
        query = load(inputs.query, query_tile, blocks.queries, head, first)
        along = load(gradient, query_tile, blocks.queries, head, first)
        row = load_row(statistics, query_tile, blocks.queries, -MASKED, first)
        dot = load_row(dots, query_tile, blocks.queries, 0.0, first)
        tiles = query_tile, tile
        tile_scores = scores(inputs, query, keys, tiles, blocks)
        weights = _weights(tile_scores, row, tiles, inputs, blocks, causal)
        value_total += plgpu.dot(weights.astype(along.dtype).T, along)
        score_gradient = _score_gradient(weights, plgpu.dot(along, values.T), row, dot)
        return key_total + plgpu.dot(score_gradient.astype(query.dtype).T, query), value_total

    zeros = jnp.zeros(keys.shape, jnp.float32)
    first = tile if blocks.skips else 0
    totals = jax.lax.fori_loop(first, blocks.query_tiles, pass_over, (zeros, zeros))
    store(key_gradient, tile, blocks.keys, head, totals[0])
    store(value_gradient, tile, blocks.keys, head, totals[1])


def _weights(tile_scores, row, tiles, inputs: Inputs, blocks: GpuBlocks, causal: bool):
    """Returns the probabilities of a tile."""
    uniform = row <= MASKED / 2
    value = jnp.where(uniform, 0.0, MASKED)[:, None]
    tile_scores = mask_scores(tile_scores, value, tiles, inputs, blocks, causal=causal)
    return jnp.exp(tile_scores - jnp.where(uniform, math.log(blocks.keys), row)[:, None])


def _score_gradient(weights, along_values, row, dot):
    """Returns the gradient of a tile of scores."""
    weights = jnp.where((row <= MASKED / 2)[:, None], 0.0, weights)
    return weights * (along_values - dot[:, None])


def _add_segments(by_segment, score_gradient, offset, tiles, segments):
    """Returns the sums over each segment of equal bias with those of a tile added.

    Far from the diagonal a tile lies in one segment; only those that it meets are visited.
    """
    number = jnp.arange(by_segment.shape[0])
    middle = (tiles[1] - tiles[0]) * TILE
    starts = segments[0, :]
    first = jnp.sum((starts <= middle - (TILE - 1)).astype(jnp.int32)) - 1
    last = jnp.sum((starts <= middle + (TILE - 1)).astype(jnp.int32)) - 1

    def add_segment(segment, sums):
        is_inside = (offset >= segments[0, segment]) & (offset < segments[1, segment])
        total = jnp.sum(jnp.where(is_inside, score_gradient, 0.0))
        return sums + jnp.where(number == segment, total, 0.0)

    return jax.lax.fori_loop(first, last + 1, add_segment, by_segment)


def _key_tiles(tile, blocks: GpuBlocks):
    """Returns the number of tiles of keys that a tile of queries sees."""
    return jnp.minimum(tile + 1, blocks.key_tiles) if blocks.skips else blocks.key_tiles


def _store_row(reference, tile, length: int, row) -> None:
    inside = tile * TILE + jnp.arange(TILE) < length
    plgpu.store(reference, row, mask=inside)


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
        forward_body,
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
    query_gradient, dots, sums = _run_over_keys(
        inputs, output, statistics, gradient, blocks, setting
    )
    key_gradient, value_gradient = _run_over_queries(
        inputs, statistics, gradient, dots, blocks, setting
    )
    return Arguments(
        query_gradient.reshape(arguments.query.shape),
        key_gradient.reshape(arguments.keys.shape),
        value_gradient.reshape(arguments.values.shape),
        None if arguments.table is None else _table_gradient(sums, arguments.table, setting),
        Numbers(None, None),
    )


def _run_over_keys(
    inputs: Inputs, output, statistics, gradient, blocks: GpuBlocks, setting: Setting
):
    tile = blocks.tile(blocks.queries, output.dtype)
    bounds = sums = None
    if inputs.biases is not None:
        starts, ends, _ = segments(setting.bidirectional)
        bounds, sums = jnp.stack([starts, ends]), blocks.segment_sums(len(starts))
    return _call(
        queries_body,
        (inputs, output, statistics, gradient, bounds),
        (
            blocks.operands(inputs, "keys"),
            tile,
            blocks.statistics,
            tile,
            None if bounds is None else blocks.segments(bounds.shape[1]),
        ),
        (tile, blocks.statistics, sums),
        blocks.query_grid,
        blocks,
        setting,
        products=3,
        name="fused_attention_query_gradient",
    )


def _run_over_queries(
    inputs: Inputs, statistics, gradient, dots, blocks: GpuBlocks, setting: Setting
):
    tile = blocks.tile(blocks.keys, gradient.dtype)
    whole, rows = blocks.whole(blocks.queries, gradient.dtype), blocks.all_statistics
    return _call(
        keys_body,
        (inputs, statistics, gradient, dots),
        (blocks.operands(inputs, "queries"), rows, whole, rows),
        (tile, tile),
        blocks.key_grid,
        blocks,
        setting,
        products=4,
        name="fused_attention_key_gradient",
    )


def _table_gradient(sums, table, setting: Setting):
    buckets = segments(setting.bidirectional).buckets
    chosen = (buckets == np.arange(table.shape[0])[:, None]).astype(np.float32)
    total = jnp.sum(sums, axis=(0, 2))
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("hs,bs->bh", total, chosen, precision=exact).astype(table.dtype)


def _call(
    kernel, arrays, inputs, outputs, grid, blocks: GpuBlocks, setting: Setting, *, products, name
):
    cost = estimate(
        grid,
        operand_list(inputs, outputs),
        flops=products * 2 * blocks.scores * blocks.head,
        exponentials=blocks.scores,
        first_fastest=True,
    )
    return pl.pallas_call(
        functools.partial(kernel, blocks=blocks, causal=setting.causal),
        grid=grid,
        in_specs=map_operands(lambda operand: operand.spec, inputs),
        out_specs=map_operands(lambda operand: operand.spec, outputs),
        out_shape=map_operands(lambda operand: operand.array, outputs),
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
