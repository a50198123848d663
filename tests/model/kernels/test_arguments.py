"""Bytes and operations that kernels declare, beside counts by hand."""

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from kernels_of_a_device import fused_attention

from model.kernels.arguments import Operand, estimate


def operand(array, block, index) -> Operand:
    return Operand(jax.ShapeDtypeStruct(array, jnp.float32), block, index)


def moved(grid, operand: Operand, *, first_fastest: bool = False) -> int:
    cost = estimate(grid, [operand], flops=0, exponentials=0, first_fastest=first_fastest)
    return cost.bytes_accessed


def test_a_block_that_stays_is_moved_once():
    assert moved((3, 4), operand((2, 8), (2, 8), lambda i, j: (0, 0))) == 4 * 16


def test_a_block_to_which_the_grid_comes_back_is_moved_anew():
    """Three passes over four blocks of two rows and eight columns."""
    assert moved((3, 4), operand((8, 8), (2, 8), lambda i, j: (j, 0))) == 3 * 4 * 4 * 16


def test_the_order_of_the_steps_decides_which_blocks_stay():
    by_row = operand((8, 8), (2, 8), lambda i, j: (j, 0))
    assert moved((3, 4), by_row, first_fastest=True) == 4 * 64


def test_what_lies_outside_an_array_is_not_moved():
    """Seven rows in blocks of four are four and three."""
    assert moved((2,), operand((7, 5), (4, 8), lambda i: (i, 0))) == 4 * 7 * 5


def test_dimensions_that_a_kernel_does_not_see_have_size_1():
    assert moved((2, 3), operand((2, 3, 7), (None, None, 7), lambda i, j: (i, j, 0))) == 4 * 42


def costs(platform: str, queries: int, keys: int) -> list[tuple[int, int, int]]:
    """Returns operations, exponentials and bytes of each kernel, forward then backward."""
    heads, head, rows = 4, 64, 3
    arrays = [jnp.zeros((rows, n, heads * head), jnp.bfloat16) for n in (queries, keys, keys)]
    table = jnp.zeros((32, heads))
    options = {"heads": heads, "bidirectional": True, "causal": False, "interpret": platform}

    def run(*x):
        return jax.vjp(lambda *x: fused_attention(*x, **options), *x)[1](arrays[0])

    traced = jax.make_jaxpr(run)(*arrays, table)
    found = [cost for cost in _costs(traced.jaxpr) if cost is not None]
    return [(cost.flops, cost.transcendentals, cost.bytes_accessed) for cost in found]


def _costs(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.params.get("cost_estimate")
        for inner in jaxprs_in_params(equation.params):
            yield from _costs(inner)


def test_on_a_tpu_each_array_is_moved_once():
    """229 queries and 300 keys are 256 and 384; a head has 768 offsets."""
    scores = 3 * 4 * 256 * 384
    queries, keys = 3 * 229 * 256 * 2, 3 * 300 * 256 * 2
    statistics, biases = 3 * 4 * 256 * 4, 4 * 768 * 4
    assert costs("tpu", 229, 300) == [
        (2 * 2 * 64 * scores, scores, 2 * queries + 2 * keys + statistics + biases),
        (5 * 2 * 64 * scores, scores, 4 * queries + 4 * keys + statistics + 2 * biases),
    ]


def test_on_a_gpu_each_kernel_moves_each_array_once():
    """229 queries and 300 keys are four and five tiles; they have 575 offsets."""
    scores = 3 * 4 * 256 * 320
    queries, keys = 3 * 229 * 256 * 2, 3 * 300 * 256 * 2
    numbers, biases = 3 * 4 * 229 * 4, 3 * 4 * 575 * 4
    sums, segments = 3 * 4 * 4 * 32 * 4, 2 * 32 * 4
    assert costs("gpu", 229, 300) == [
        (2 * 2 * 64 * scores, scores, 2 * queries + 2 * keys + numbers + biases),
        (
            3 * 2 * 64 * scores,
            scores,
            4 * queries + 2 * keys + 2 * numbers + biases + sums + segments,
        ),
        (4 * 2 * 64 * scores, scores, 2 * queries + 4 * keys + 2 * numbers + biases),
    ]
