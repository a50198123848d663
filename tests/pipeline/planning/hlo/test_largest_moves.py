"""The listing of the instructions that move the most bytes."""

import pytest

from pipeline.planning.hlo.largest_moves import largest_moves, lines
from pipeline.planning.hlo.memory_traffic import traffic_bytes
from pipeline.planning.hlo.program import parse

TEXT = """HloModule step

ENTRY %main (a: f32[4,8], b: f32[4]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %near = f32[4,8]{1,0:S(1)} copy(%a)
  %half = f32[4]{0} negate(%b), metadata={op_name="jit(step)/neg"}
  ROOT %sum = f32[4,8]{1,0} add(%a, %near), metadata={op_name="jit(step)/add"}
}
"""


def test_the_largest_come_first_with_their_share():
    program = parse(TEXT)
    found = largest_moves(program, 2)
    assert [one.size for one in found] == [2 * 128, 128]
    assert found[0].operation == "jit(step)/add"
    assert found[0].shapes == "f32[4,8] <- f32[4,8] f32[4,8]*"
    assert found[0].share == pytest.approx(256 / (256 + 128 + 32))
    assert sum(one.size for one in largest_moves(program, 9)) == traffic_bytes(program)


def test_an_instruction_is_two_lines_below_a_heading():
    heading, first, shapes = lines(largest_moves(parse(TEXT), 1))
    assert heading.split()[:3] == ["GB", "share", "executions"]
    assert first.split() == ["0.00", "61.5%", "1", "add", "jit(step)/add"]
    assert shapes.strip().startswith("f32[4,8] <-")
