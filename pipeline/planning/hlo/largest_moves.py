"""The instructions of a compiled program that move the most bytes: where a step's traffic is."""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.memory_traffic import Move, moves
from pipeline.planning.hlo.program import Program


class LargeMove(NamedTuple):
    """An instruction with the bytes that it moves to and from main memory.

    Attributes:
        size: bytes per step, over all executions.
        share: share of the step's bytes.
        executions: number of executions per step.
        opcode: opcode, such as `fusion`.
        operation: name of the traced operation that the instruction computes.
        shapes: results and operands, with an asterisk where they are in on-chip memory.
    """

    size: int
    share: float
    executions: int
    opcode: str
    operation: str
    shapes: str


def largest_moves(program: Program, count: int) -> list[LargeMove]:
    """Returns the `count` instructions that move the most bytes per step, the largest first."""
    found = list(moves(program))
    whole = sum(move.total for move in found)
    largest = heapq.nlargest(count, found, key=lambda move: move.total)
    return [
        LargeMove(
            size=move.total,
            share=move.total / whole,
            executions=move.executions,
            opcode=move.instruction.opcode,
            operation=move.instruction.operation,
            shapes=_shapes(move, program),
        )
        for move in largest
        if move.total
    ]


def lines(found: Iterable[LargeMove]) -> Iterator[str]:
    """Yields a heading and two lines per instruction."""
    yield "      GB   share  executions  operation; below it results <- operands (* on chip)"
    for move in found:
        numbers = f"{move.size / 1e9:8.2f}  {move.share:6.1%}  {move.executions:10,}"
        yield f"{numbers}  {move.opcode} {move.operation}"
        yield f"{'':29}{move.shapes}"


def _shapes(move: Move, program: Program) -> str:
    values = program.computations[move.computation]
    operands = [values[name] for name in move.instruction.operands if name in values]
    return f"{_text([move.instruction])} <- {_text(operands)}"


def _text(instructions: Iterable[Instruction]) -> str:
    return " ".join(
        f"{array.kind}{list(array.shape)}{'' if array.in_main_memory else '*'}".replace(", ", ",")
        for one in instructions
        for array in one.results
    )
