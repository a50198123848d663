"""Cost of kernels: as compiled programs state it, beside a count by hand from grid and blocks.

Bytes to and from main memory, instruction by instruction, beside counts by hand.

The listing of the instructions that move the most bytes.
"""

# ruff: noqa: E501
import importlib.util

import jax
import jax.numpy as jnp
import pytest
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

TEXT = """HloModule step

ENTRY %main (x: f32[4,8]) -> f32[4,8] {{
  %x = f32[4,8]{{1,0}} parameter(0)
  %scratch = f32[4,8]{{1,0}} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %call = f32[4,8]{{1,0}} custom-call(%x), custom_call_target={call}
}}
"""
CALLS = {
    "tpu": '"tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUgFN","cost_estimate":{"flops":"96","transcendentals":"7","bytes_accessed":"1000","remote_bytes_transferred":"0"},"needs_layout_passes":true}}',
    "gpu": r'"__gpu$xla.gpu.triton", api_version=API_VERSION_TYPED_FFI, backend_config={grid_x = 32 : i32, ir = "ML\EFR\0D\22", serialized_metadata = "{\22flops\22: \2296\22, \22bytes_accessed\22: \221000\22}"}',
}


@pytest.mark.parametrize("device", CALLS)
def test_a_kernel_costs_what_its_call_states(device):
    program = parse(TEXT.format(call=CALLS[device]))
    assert kernel_cost(program.computations["main"]["call"]) == KernelCost(96, 1000)
    assert products(program).flops == 96
    assert traffic_bytes(program) == 1000
    assert unknown_calls(program) == {}


def test_a_kernel_that_states_nothing_is_listed_and_its_arrays_move_once():
    program = parse(TEXT.format(call='"__gpu$TopK"'))
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
NESTED = """HloModule step

%rename (p: bf16[2,4,8]) -> bf16[8,8] {
  %p = bf16[2,4,8]{2,1,0} parameter(0)
  ROOT %renamed = bf16[8,8]{1,0} bitcast(%p)
}

%product (x: bf16[2,4,8], y: bf16[8,16]) -> bf16[8,16] {
  %x = bf16[2,4,8]{2,1,0} parameter(0)
  %left = bf16[8,8]{1,0} fusion(%x), kind=kLoop, calls=%rename
  %y = bf16[8,16]{1,0} parameter(1)
  ROOT %out = bf16[8,16]{1,0} convolution(%left, %y), dim_labels=bf_io->bf
}

ENTRY %main (x: bf16[2,4,8], y: bf16[8,16]) -> bf16[8,16] {
  %x = bf16[2,4,8]{2,1,0} parameter(0)
  %y = bf16[8,16]{1,0} parameter(1)
  ROOT %fused = bf16[8,16]{1,0} fusion(%x, %y), kind=kOutput, calls=%product
}
"""


def test_operands_behind_renamed_dimensions_are_read():
    assert traffic_bytes(parse(NESTED)) == 2 * (2 * 4 * 8 + 8 * 16 + 8 * 16)


# An update in place of a stack whose layout a fusion within the fusion changes.
STACKED = """HloModule step

%arrange (p: f32[6,8]) -> f32[6,8] {
  %p = f32[6,8]{1,0} parameter(0)
  ROOT %arranged = f32[6,8]{1,0} copy(%p)
}

%update (stack: f32[6,8], row: f32[1,8], i: s32[]) -> f32[6,8] {
  %stack = f32[6,8]{1,0} parameter(0)
  %whole = f32[6,8]{1,0} fusion(%stack), kind=kLoop, calls=%arrange
  %row = f32[1,8]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %updated = f32[6,8]{1,0} dynamic-update-slice(%whole, %row, %i, %zero)
}

ENTRY %main (stack: f32[6,8], row: f32[1,8], i: s32[]) -> f32[6,8] {
  %stack = f32[6,8]{1,0} parameter(0)
  %row = f32[1,8]{1,0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %fused = f32[6,8]{1,0} fusion(%stack, %row, %i), kind=kLoop, calls=%update
}
"""


def test_of_an_update_in_place_only_the_update_moves():
    assert traffic_bytes(parse(STACKED)) == 4 * (8 + 1 + 8)  # row and index are read, row written


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
    text = f"""ENTRY %main (a: f32[8]) -> f32[8] {{
  %a = f32[8]{{0}} parameter(0)
  ROOT %start = {line}
}}
"""
    assert traffic_bytes(parse(text)) == size


TEXT_LARGEST_MOVES = """HloModule step

ENTRY %main (a: f32[4,8], b: f32[4]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %near = f32[4,8]{1,0:S(1)} copy(%a)
  %half = f32[4]{0} negate(%b), metadata={op_name="jit(step)/neg"}
  ROOT %sum = f32[4,8]{1,0} add(%a, %near), metadata={op_name="jit(step)/add"}
}
"""


def test_the_largest_come_first_with_their_share_in_two_lines_each():
    """256 bytes of 256 + 128 + 32 are 61.5 %."""
    heading, first, shapes, second, _ = largest_moves(parse(TEXT_LARGEST_MOVES), 2)
    assert heading.split()[:3] == ["GB", "share", "executions"]
    assert first.split() == ["0.00", "61.5%", "1", "add", "jit(step)/add"]
    assert shapes.strip() == "f32[4,8] <- f32[4,8] f32[4,8]*"
    assert second.split()[1:4] == ["30.8%", "1", "copy"]
