"""Cost of kernels: as compiled programs state it, beside a count by hand from grid and blocks.

Bytes to and from main memory, instruction by instruction, beside counts by hand.

The listing of the instructions that move the most bytes.
"""

# ruff: noqa: E501
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from hlo_programs import program_text
from jax.experimental import pallas as pl
from jax.sharding import SingleDeviceSharding

from pipeline.planning.hlo.program import parse
from pipeline.planning.hlo.work import (
    KernelCost,
    kernel_cost,
    largest_moves,
    products,
    traffic_bytes,
    unknown_calls,
)
from pipeline.planning.topology import topology

TEXT = program_text("kernel_call")
CALLS = {
    "tpu": '"tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUgFN","cost_estimate":{"flops":"96","transcendentals":"7","bytes_accessed":"1000","remote_bytes_transferred":"0"},"needs_layout_passes":true}}',
    "gpu": r'"__gpu$xla.gpu.triton", api_version=API_VERSION_TYPED_FFI, backend_config={grid_x = 32 : i32, ir = "ML\EFR\0D\22", serialized_metadata = "{\22flops\22: \2296\22, \22bytes_accessed\22: \221000\22}"}',
}


@pytest.mark.parametrize("device", CALLS)
def test_a_kernel_costs_what_its_call_states(device):
    program = parse(TEXT.replace("CALL", CALLS[device]))
    assert kernel_cost(program.computations["main"]["call"]) == KernelCost(96, 1000)
    assert products(program).flops == 96
    assert traffic_bytes(program) == 1000
    assert unknown_calls(program) == {}


def test_a_kernel_that_states_nothing_is_listed_and_its_arrays_move_once():
    program = parse(TEXT.replace("CALL", '"__gpu$TopK"'))
    assert unknown_calls(program) == {"__gpu$TopK": 1}
    assert products(program).flops == 0
    assert traffic_bytes(program) == 2 * 4 * 8 * 4


ROWS, INNER, COLUMNS, BLOCK, LAYERS = 512, 256, 256, 128, 5


def blocked_product(x, y):
    """Returns `x @ y`, one block of the result per point of the grid, stating its cost."""
    grid = ROWS // BLOCK, COLUMNS // BLOCK
    points = grid[0] * grid[1]
    # x's rows change with the outer index only; y's columns are fetched again for every row.
    fetched = grid[0] * BLOCK * INNER + points * INNER * BLOCK + points * BLOCK * BLOCK

    def kernel(x, y, out):
        product = jnp.dot(x[...], y[...], preferred_element_type=jnp.float32)
        out[...] = product.astype(out.dtype)

    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[
            pl.BlockSpec((BLOCK, INNER), lambda i, j: (i, 0)),
            pl.BlockSpec((INNER, BLOCK), lambda i, j: (0, j)),
        ],
        out_specs=pl.BlockSpec((BLOCK, BLOCK), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((ROWS, COLUMNS), x.dtype),
        cost_estimate=pl.CostEstimate(
            flops=points * 2 * BLOCK * INNER * BLOCK, transcendentals=0, bytes_accessed=2 * fetched
        ),
    )(x, y)


@pytest.mark.plans
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_kernel_in_a_loop_is_counted_per_trip():
    """By hand: x once, y once per row of blocks, the result once; in bfloat16, per layer."""
    here = SingleDeviceSharding(topology("v5p:2x2x1").devices[0])
    layers = jax.jit(
        lambda x, ys: jax.lax.scan(lambda x, y: (blocked_product(x, y), None), x, ys)[0],
        in_shardings=here,
        out_shardings=here,
    )
    x = jax.ShapeDtypeStruct((ROWS, INNER), jnp.bfloat16)
    ys = jax.ShapeDtypeStruct((LAYERS, INNER, COLUMNS), jnp.bfloat16)
    program = parse(layers.lower(x, ys).compile().as_text() or "")
    kernels = [
        (times, cost)
        for _, instruction, times in program.executed_instructions()
        if (cost := kernel_cost(instruction)) is not None
    ]
    fetched = ROWS * INNER + ROWS // BLOCK * INNER * COLUMNS + ROWS * COLUMNS
    assert kernels == [(LAYERS, KernelCost(2 * ROWS * INNER * COLUMNS, 2 * fetched))]
    assert products(program).flops == LAYERS * 2 * ROWS * INNER * COLUMNS
    assert traffic_bytes(program) >= LAYERS * 2 * fetched


# Two operands reach a product through fusions that only rename dimensions, as XLA for TPUs prints.
NESTED = program_text("renamed_operands")


def test_only_what_moves_is_counted():
    assert traffic_bytes(parse(NESTED)) == 2 * (2 * 4 * 8 + 8 * 16 + 8 * 16)
    assert traffic_bytes(parse(STACKED)) == 4 * (8 + 1 + 8)  # row and index are read, row written


# An update in place of a stack whose layout a fusion within the fusion changes.
STACKED = program_text("updated_stack")


@pytest.mark.parametrize(
    ("line", "size"),
    [  # of f32[8], 32 bytes
        ("(f32[8]{0:S(1)}, f32[8]{0}, u32[]) copy-start(%a)", 32),  # into the chip
        ("(f32[8]{0}, f32[8]{0}, u32[]) copy-start(%a)", 64),
        ("((f32[8]{0}), f32[2]{0:S(1)}, s32[]) slice-start(%a)", 8),
        ("((f32[8]{0}), f32[2]{0}, s32[]) slice-start(%a)", 16),
        ("(f32[8]{0}, f32[32]{0}) all-gather-start(%a)", 32 + 128),
        ("f32[8]{0} all-reduce-start(%a)", 64),
        ("(f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a)", 64),
        ("(f32[8]{0}, u32[], token[]) send(%a)", 32),  # the host reads it and writes elsewhere
    ],
)
def test_an_asynchronous_move_reads_its_operand_and_writes_its_target(line, size):
    text = "ENTRY %main (a: f32[8]) -> f32[8] {\n  %a = f32[8]{0} parameter(0)\n"
    assert traffic_bytes(parse(f"{text}  ROOT %start = {line}\n}}\n")) == size


TEXT_LARGEST_MOVES = program_text("largest_moves")


def test_the_largest_come_first_with_their_share_in_two_lines_each():
    """256 bytes of 256 + 128 + 32 are 61.5 %."""
    heading, first, shapes, second, _ = largest_moves(parse(TEXT_LARGEST_MOVES), 2)
    assert heading.split()[:3] == ["GB", "share", "executions"]
    assert first.split() == ["0.00", "61.5%", "1", "add", "jit(step)/add"]
    assert shapes.strip() == "f32[4,8] <- f32[4,8] f32[4,8]*"
    assert second.split()[1:4] == ["30.8%", "1", "copy"]
