"""Bytes and operations that kernels declare, beside counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params
from kernels_of_a_device import fused_attention

from model.kernels.arguments import Operand, estimate


@pytest.mark.parametrize(
    ("grid", "array", "block", "index", "numbers"),
    [
        ((3, 4), (2, 8), (2, 8), lambda i, j: (0, 0), 16),  # a block that stays is moved once
        ((3, 4), (8, 8), (2, 8), lambda i, j: (j, 0), 3 * 4 * 16),  # three passes over four blocks
        ((2,), (7, 5), (4, 8), lambda i: (i, 0), 7 * 5),  # not what lies outside an array
        ((2, 3), (2, 3, 7), (None, None, 7), lambda i, j: (i, j, 0), 42),  # unseen ones have size 1
    ],
)
def test_blocks_are_moved_when_the_grid_comes_to_another(grid, array, block, index, numbers):
    operand = Operand(jax.ShapeDtypeStruct(array, jnp.float32), block, index)
    cost = estimate(grid, [operand], flops=0, exponentials=0, first_fastest=False)
    assert cost.bytes_accessed == 4 * numbers


def test_the_order_of_the_steps_decides_which_blocks_stay():
    by_row = Operand(jax.ShapeDtypeStruct((8, 8), jnp.float32), (2, 8), lambda i, j: (j, 0))
    cost = estimate((3, 4), [by_row], flops=0, exponentials=0, first_fastest=True)
    assert cost.bytes_accessed == 4 * 64


def costs(platform):
    """Operations, exponentials and bytes of each kernel, forward then backward."""
    arrays = [jnp.zeros((3, n, 4 * 64), jnp.bfloat16) for n in (229, 300, 300)]
    table = jnp.zeros((32, 4))
    options = {"heads": 4, "bidirectional": True, "causal": False, "interpret": platform}

    def run(*x):
        return jax.vjp(lambda *x: fused_attention(*x, **options), *x)[1](arrays[0])

    found = [cost for cost in _costs(jax.make_jaxpr(run)(*arrays, table).jaxpr) if cost]
    return [(cost.flops, cost.transcendentals, cost.bytes_accessed) for cost in found]


def _costs(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.params.get("cost_estimate")
        for inner in jaxprs_in_params(equation.params):
            yield from _costs(inner)


QUERIES, KEYS = 3 * 229 * 256 * 2, 3 * 300 * 256 * 2  # bytes


def test_on_a_tpu_each_array_is_moved_once():
    """229 queries and 300 keys are 256 and 384; a head has 768 offsets."""
    scores, statistics, biases = 3 * 4 * 256 * 384, 3 * 4 * 256 * 4, 4 * 768 * 4
    assert costs("tpu") == [
        (2 * 2 * 64 * scores, scores, 2 * QUERIES + 2 * KEYS + statistics + biases),
        (5 * 2 * 64 * scores, scores, 4 * QUERIES + 4 * KEYS + statistics + 2 * biases),
    ]


def test_on_a_gpu_each_kernel_moves_each_array_once():
    """229 queries and 300 keys are four and five tiles; they have 575 offsets."""
    scores, numbers, biases = 3 * 4 * 256 * 320, 3 * 4 * 229 * 4, 3 * 4 * 575 * 4
    sums, segments = 3 * 4 * 4 * 32 * 4, 2 * 32 * 4
    queries_back = 4 * QUERIES + 2 * KEYS + 2 * numbers + biases + sums + segments
    assert costs("gpu") == [
        (2 * 2 * 64 * scores, scores, 2 * QUERIES + 2 * KEYS + numbers + biases),
        (3 * 2 * 64 * scores, scores, queries_back),
        (4 * 2 * 64 * scores, scores, 2 * QUERIES + 4 * KEYS + 2 * numbers + biases),
    ]
