"""The kernels on a GPU: what one thread block computes, forward and backward.

The forward pass takes a tile of queries over all keys with a running maximum and sum. Backward,
one kernel takes a tile of queries over the keys, for the gradients of queries and biases, and one a
tile of keys over the queries: no thread block adds to what another one writes, so the sums are the
same in every run.

A query whose keys are all masked is marked by `MASKED` in the statistics: its probabilities are
uniform and its scores have no gradient.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from model.kernels.arguments import MASKED
from model.kernels.gpu.blocks import TILE, GpuBlocks
from model.kernels.gpu.scores import load, load_row, masked, offsets, scores, store
from model.kernels.inputs import Inputs


def forward(inputs: Inputs, output, statistics, *, blocks: GpuBlocks, causal: bool):
    """Computes a tile of the output and its logarithms of the sums of exponentials."""
    tile, head = pl.program_id(0), blocks.head
    query = load(inputs.query, tile, blocks.queries, head)

    def pass_over(key_tile, carry):
        mixed, most, total = carry
        keys = load(inputs.keys, key_tile, blocks.keys, head, key_tile * TILE)
        values = load(inputs.values, key_tile, blocks.keys, head, key_tile * TILE)
        tiles = tile, key_tile
        found = scores(inputs, query, keys, tiles, blocks)
        found = masked(found, MASKED, tiles, inputs, blocks, causal=causal)
        new_most = jnp.maximum(most, jnp.max(found, axis=1))
        shrunk = jnp.exp(most - new_most)
        weights = jnp.exp(found - new_most[:, None])
        mixed = mixed * shrunk[:, None] + plgpu.dot(weights.astype(values.dtype), values)
        return mixed, new_most, total * shrunk + jnp.sum(weights, axis=1)

    zeros = jnp.zeros(query.shape, jnp.float32)
    start = zeros, jnp.full(TILE, -jnp.inf, jnp.float32), jnp.zeros(TILE, jnp.float32)
    mixed, most, total = jax.lax.fori_loop(0, _key_tiles(tile, blocks), pass_over, start)
    store(output, tile, blocks.queries, head, mixed / total[:, None])
    row = jnp.where(most <= MASKED / 2, MASKED, most + jnp.log(total))
    _store_row(statistics, tile, blocks.queries, row)


def of_queries(
    inputs: Inputs,
    output,
    statistics,
    gradient,
    segments,
    of_query,
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
        found = scores(inputs, query, keys, tiles, blocks)
        weights = _weights(found, row, tiles, inputs, blocks, causal)
        change = _change(weights, plgpu.dot(along, values.T), row, dot)
        if segments is not None:
            by_segment = _add_segments(by_segment, change, offsets(tiles), tiles, segments)
        return total + plgpu.dot(change.astype(keys.dtype), keys), by_segment

    by_segment = None if segments is None else jnp.zeros(sums.shape, jnp.float32)
    start = jnp.zeros(query.shape, jnp.float32), by_segment
    total, by_segment = jax.lax.fori_loop(0, _key_tiles(tile, blocks), pass_over, start)
    store(of_query, tile, blocks.queries, head, total)
    if segments is not None:
        sums[...] = by_segment


def of_keys(
    inputs: Inputs,
    statistics,
    gradient,
    dots,
    of_keys,
    of_values,
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
        found = scores(inputs, query, keys, tiles, blocks)
        weights = _weights(found, row, tiles, inputs, blocks, causal)
        value_total += plgpu.dot(weights.astype(along.dtype).T, along)
        change = _change(weights, plgpu.dot(along, values.T), row, dot)
        return key_total + plgpu.dot(change.astype(query.dtype).T, query), value_total

    zeros = jnp.zeros(keys.shape, jnp.float32)
    first = tile if blocks.skips else 0
    totals = jax.lax.fori_loop(first, blocks.query_tiles, pass_over, (zeros, zeros))
    store(of_keys, tile, blocks.keys, head, totals[0])
    store(of_values, tile, blocks.keys, head, totals[1])


def _weights(found, row, tiles, inputs: Inputs, blocks: GpuBlocks, causal: bool):
    """Returns the probabilities of a tile."""
    uniform = row <= MASKED / 2
    value = jnp.where(uniform, 0.0, MASKED)[:, None]
    found = masked(found, value, tiles, inputs, blocks, causal=causal)
    return jnp.exp(found - jnp.where(uniform, math.log(blocks.keys), row)[:, None])


def _change(weights, along_values, row, dot):
    """Returns the gradient of a tile of scores."""
    weights = jnp.where((row <= MASKED / 2)[:, None], 0.0, weights)
    return weights * (along_values - dot[:, None])


def _add_segments(by_segment, change, offset, tiles, segments):
    """Returns the sums over each segment of equal bias with those of a tile added.

    Far from the diagonal a tile lies in one segment; only those that it meets are visited.
    """
    number = jnp.arange(by_segment.shape[0])
    middle = (tiles[1] - tiles[0]) * TILE
    starts = segments[0, :]
    first = jnp.sum((starts <= middle - (TILE - 1)).astype(jnp.int32)) - 1
    last = jnp.sum((starts <= middle + (TILE - 1)).astype(jnp.int32)) - 1

    def visit(segment, sums):
        here = (offset >= segments[0, segment]) & (offset < segments[1, segment])
        return sums + jnp.where(number == segment, jnp.sum(jnp.where(here, change, 0.0)), 0.0)

    return jax.lax.fori_loop(first, last + 1, visit, by_segment)


def _key_tiles(tile, blocks: GpuBlocks):
    """Returns the number of tiles of keys that a tile of queries sees."""
    if not blocks.skips:
        return blocks.key_tiles
    return jnp.minimum(tile + 1, blocks.key_tiles)


def _store_row(reference, tile, length: int, found) -> None:
    inside = tile * TILE + jnp.arange(TILE) < length
    plgpu.store(reference, found, mask=inside)
