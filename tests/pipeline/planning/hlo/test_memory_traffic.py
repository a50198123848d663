"""Bytes to and from main memory, instruction by instruction, beside counts by hand."""

import pytest

from pipeline.planning.hlo.memory_traffic import traffic_bytes
from pipeline.planning.hlo.program import parse

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
