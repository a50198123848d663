"""The kernels on a TPU: what one step of the grid computes, forward and backward.

A query whose keys are all masked is marked by `MASKED` in the statistics: its probabilities are
uniform and its scores have no gradient.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from model.kernels.arguments import MASKED
from model.kernels.inputs import Inputs
from model.kernels.tpu import scores as scoring
from model.kernels.tpu.blocks import TpuBlocks
from model.kernels.tpu.scores import of_head, product, scores


def forward(inputs: Inputs, output, statistics, band, *, blocks: TpuBlocks, causal: bool):
    """Computes a block of the output and its logarithms of the sums of exponentials."""
    if band is not None:
        pl.when(_is_first())(lambda: scoring.fill(band, inputs.biases, blocks))
    block = scoring.inside_queries(inputs.query[0], blocks)
    parts = scoring.parts(inputs, blocks, causal)
    turned = [jnp.transpose(part.values) for part in parts]
    mixed = []
    for number in range(blocks.together):
        query = of_head(block, number, blocks.head)
        found = [part.masked(scores(part, query, number, band, blocks), MASKED) for part in parts]
        most = functools.reduce(jnp.maximum, [jnp.max(x, axis=0, keepdims=True) for x in found])
        lanes = slice(number * blocks.head, (number + 1) * blocks.head)
        total, sums = 0.0, 0.0
        for x, values in zip(found, turned, strict=True):
            weights = jnp.exp(x - most)
            total += jnp.sum(weights, axis=0, keepdims=True)
            sums += product(values[lanes], weights.astype(values.dtype), (1, 0))
        mixed.append(sums / total)
        row = jnp.where(most <= MASKED / 2, MASKED, most + jnp.log(total))
        statistics[0, 0, pl.ds(number, 1), :] = row
    output[0] = jnp.transpose(jnp.concatenate(mixed, axis=0)).astype(output.dtype)


def backward(
    inputs: Inputs,
    statistics,
    output,
    gradient,
    of_query,
    of_keys,
    of_values,
    of_biases,
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
        pl.when(_is_first())(lambda: scoring.fill(band, inputs.biases, blocks))
        pl.when(_is_first())(lambda: _clear(band_sums))
    pl.when(pl.program_id(2) == 0)(lambda: _clear(key_sums, value_sums))
    block = scoring.inside_queries(inputs.query[0], blocks)
    along_all = scoring.inside_queries(gradient[0], blocks)
    out = scoring.inside_queries(output[0], blocks)
    dots = jnp.transpose(out.astype(jnp.float32) * along_all.astype(jnp.float32))
    parts = scoring.parts(inputs, blocks, causal)
    mixed = []
    for number in range(blocks.together):
        lanes = slice(number * blocks.head, (number + 1) * blocks.head)
        query = of_head(block, number, blocks.head)
        along = of_head(along_all, number, blocks.head)
        dot = jnp.sum(dots[lanes], axis=0, keepdims=True)
        row, uniform = _statistics(statistics[0, 0, pl.ds(number, 1), :], blocks)
        total = 0.0
        for part in parts:
            found = scores(part, query, number, band, blocks)
            weights = jnp.exp(part.masked(found, jnp.where(uniform, 0.0, MASKED)) - row)
            change = weights * (product(part.values, along, (1, 1)) - dot)
            if part.allowed is not None:
                change = change * jnp.where(uniform, 0.0, 1.0)
            if band is not None:
                band_sums[number, scoring.window(part, blocks), :] += change
            change = change.astype(query.dtype)
            value_sums[part.rows, :] += product(weights.astype(query.dtype), along, (1, 0))
            key_sums[part.rows, :] += product(change, query, (1, 0))
            total += product(jnp.transpose(part.keys)[lanes], change, (1, 0))
        mixed.append(total)
    of_query[0] = jnp.transpose(jnp.concatenate(mixed, axis=0)).astype(of_query.dtype)
    pl.when(pl.program_id(2) == blocks.query_blocks - 1)(
        lambda: _write((of_keys, key_sums), (of_values, value_sums))
    )
    if band is not None:
        pl.when(_is_last(blocks))(lambda: scoring.sum_diagonals(band_sums, of_biases, blocks))


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
