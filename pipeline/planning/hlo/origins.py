"""Where the value that a collective moves comes from: parameters, gradients, activations and so on.

A value is traced back through instructions that only move data, out of fusions, tuples, calls and
loops. If every path ends in an argument of the step, the value is a parameter or an optimizer
statistic; otherwise it was computed. A forward loop that stacks parameters for its backward pass
only moves them, so the trace also follows what is written into a stack.
"""

import math
from collections.abc import Iterator
from typing import Literal

from pipeline.planning.between_slices import sender
from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.program import Program

MOVES = {
    "all-gather",  # an array split over two axes takes two gathers
    "all-gather-done",
    "all-gather-start",
    "bitcast",
    "bitcast-convert",
    "broadcast",  # the zeros that a stack starts from
    "collective-permute",  # the shard of a neighbour
    "collective-permute-done",
    "collective-permute-start",
    "constant",
    "convert",
    "copy",
    "copy-done",
    "copy-start",
    "dynamic-slice",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "recv-done",  # the part of the same array that another slice stores
    "reshape",
    "slice",
    "transpose",
    "tuple",
}
STACK = "dynamic-update-slice"
CALLS = ("call", "call-start", "async-start")
IN_MODEL = "jvp("  # part of the name of every operation of the forward and backward pass
BACKWARD = "transpose("  # part of the name of every operation of the backward pass
SUMS = ("all-reduce", "reduce-scatter", "collective-permute")  # or, the last, parts of sums
BATCH_AXES = {"replica", "data", "slice", "expert"}
Origin = Literal["parameters", "gradients", "optimizer", "activations", "counts", "reports"]


def origin_of(
    program: Program,
    computation: str,
    instruction: Instruction,
    parameters: int,
    rows: int,
    *,
    kind: str,
    axes: tuple[str, ...],
) -> Origin:
    """Returns the origin of the value that a collective moves.

    Args:
        program: compiled step.
        computation: name of the computation that holds the collective.
        instruction: the collective, or the fusion that holds it.
        parameters: number of the step's first arguments that are the model's arrays.
        rows: number of rows of a batch.
        kind: kind of the collective. In the backward pass a sum over the axes that split the batch
            is of gradients; so is a reduce-scatter in the forward pass, where the loss makes them,
            as activations are not scattered across these axes.
        axes: mesh axes that the collective crosses.
    """
    per_row = all(math.prod(array.shape) == rows for array in instruction.results)
    if instruction.opcode.startswith("all-gather") and per_row and computation == program.entry:
        return "reports"
    if instruction.opcode.startswith("all-to-all") and not _has_floats(instruction):
        return "counts"
    sources = set(_sources(program, computation, instruction.operands[0], set()))
    if sources and None not in sources:
        in_model = all(source is not None and source < parameters for source in sources)
        return "parameters" if in_model else "optimizer"
    if kind not in SUMS:
        return "activations" if IN_MODEL in instruction.operation else "optimizer"
    operation = _operation(instruction, program.computations[computation])
    if (BACKWARD in operation or kind == "reduce-scatter") and set(axes) <= BATCH_AXES:
        return "gradients"
    return "activations" if IN_MODEL in operation else "optimizer"


def _operation(instruction: Instruction, values: dict[str, Instruction]) -> str:
    """Returns the name of the traced operation; where XLA names none, that of its operand."""
    while not instruction.operation and instruction.operands:
        before = values.get(instruction.operands[0])
        if before is None:
            break
        instruction = before
    return instruction.operation


def _has_floats(instruction: Instruction) -> bool:
    return any("f" in array.kind for array in instruction.results)


def _sources(
    program: Program, computation: str, name: str, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Yields the numbers of the step's arguments that reach a value unchanged; None if computed."""
    if (computation, name) in seen:
        return
    seen.add((computation, name))
    one = program.computations[computation].get(name)
    if one is None:
        yield None
    elif one.opcode == "parameter" and computation == program.entry:
        yield int(one.literal)
    elif one.opcode == "parameter":
        yield from _of_argument(program, computation, int(one.literal), seen)
    elif one.opcode == "recv":
        sent = sender(one, program.computations[computation])
        source = None if sent is None else sent.operands[0]
        yield from [None] if source is None else _sources(program, computation, source, seen)
    elif one.opcode == "get-tuple-element":
        yield from _of_tuple(program, computation, one, seen)
    elif one.opcode == "fusion":
        yield from _of_fusion(program, computation, one, 0, seen)
    elif (moved := _operands_moved(one)) is None:
        yield None
    else:
        for operand in moved:
            yield from _sources(program, computation, operand, seen)


def _of_argument(
    program: Program, called: str, number: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces an argument of a called computation, such as a collective on a SparseCore."""
    operands = [
        (caller, one.operands[number])
        for caller, values in program.computations.items()
        for one in values.values()
        if one.opcode in CALLS and called in (one.attribute("to_apply"), one.attribute("calls"))
    ]
    if not operands:
        yield None
    for caller, operand in operands:
        yield from _sources(program, caller, operand, seen)


def _operands_moved(one: Instruction) -> tuple[str, ...] | None:
    """Returns the operands that an instruction only moves; None if it computes."""
    if one.opcode == STACK:
        return one.operands[:2]  # the stack, and the value written into it
    return one.operands[:1] if one.opcode in MOVES else None


def _of_fusion(
    program: Program, computation: str, fusion: Instruction, index: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces one result of a fusion to the operands that reach it unchanged."""
    called = program.computations[fusion.attribute("calls") or ""]
    for number in _moved(program, called, _result(called, index)):
        if number is None:
            yield None
        else:
            yield from _sources(program, computation, fusion.operands[number], seen)


def _result(called: dict[str, Instruction], index: int) -> str:
    one = next(instruction for instruction in called.values() if instruction.root)
    return one.operands[index] if one.opcode == "tuple" else one.name


def _moved(program: Program, called: dict[str, Instruction], name: str) -> Iterator[int | None]:
    """Yields the fused computation's parameters that reach a value unchanged; None if computed."""
    one = called[name]
    if one.opcode == "parameter":
        yield int(one.literal)
    elif one.opcode == "fusion":
        inner = program.computations[one.attribute("calls") or ""]
        for number in _moved(program, inner, _result(inner, 0)):
            if number is None:
                yield None
            else:
                yield from _moved(program, called, one.operands[number])
    elif (moved := _operands_moved(one)) is None:
        yield None
    else:
        for operand in moved:
            yield from _moved(program, called, operand)


def _of_tuple(
    program: Program, computation: str, one: Instruction, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    index = int(one.attribute("index") or 0)
    source = program.computations[computation][one.operands[0]]
    if source.opcode == "tuple":
        yield from _sources(program, computation, source.operands[index], seen)
    elif source.opcode == "parameter" and computation != program.entry:
        yield from _of_loop(program, computation, index, seen)
    elif source.opcode == "while":
        yield from _of_loop(program, source.attribute("body") or "", index, seen)
    elif source.opcode == "fusion":
        yield from _of_fusion(program, computation, source, index, seen)
    elif source.opcode in ("all-gather", "all-gather-done"):  # of several arrays at once
        done = source.opcode == "all-gather-done"
        start = program.computations[computation][source.operands[0]] if done else source
        yield from _sources(program, computation, start.operands[index], seen)
    elif source.opcode == "recv-done":
        yield from _sources(program, computation, source.name, seen)
    else:
        yield None


def _of_loop(
    program: Program, body: str, index: int, seen: set[tuple[str, str]]
) -> Iterator[int | None]:
    """Traces a loop variable to its initial value and to its value after the loop's body."""
    variable = body, f"variable {index}"
    if variable in seen:
        return
    seen.add(variable)
    values = program.computations[body]
    if next(one for one in values.values() if one.root).opcode != "tuple":
        yield None
        return
    yield from _sources(program, body, _result(values, index), seen)
    for caller, others in program.computations.items():
        for loop in others.values():
            if loop.opcode == "while" and loop.attribute("body") == body:
                before = others[loop.operands[0]]
                if before.opcode == "tuple":
                    yield from _sources(program, caller, before.operands[index], seen)
                else:
                    yield None
