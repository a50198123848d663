"""Bytes that a program moves to and from a device's main memory, multiplied by loop trip counts.

Each fusion reads its operands and writes its result once. Arrays in on-chip memory are not counted;
of a slice of a stacked array only the slice is, and of an update in place only the update. Repeated
reads by a fusion and padding to tiles are left out, so the sum is a lower bound, as a roofline
requires. A kernel written by hand states its bytes, with its repeated reads (`kernels.py`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.kernels import LIBRARY, NO_WORK, kernel_cost, target
from pipeline.planning.hlo.program import Program

FREE = {
    "after-all",
    "async-start",  # what it calls is counted
    "bitcast",
    "call",
    "call-start",
    "conditional",
    "constant",
    "copy-done",
    "get-tuple-element",
    "iota",
    "opt-barrier",
    "parameter",
    "partition-id",
    "tuple",
    "while",
}
SLICES = ("dynamic-slice", "gather", "slice")
UPDATE = "dynamic-update-slice"
RENAMES = ("bitcast", "copy", "reshape", "transpose")  # within a fusion nothing is moved by them
PASS = (*RENAMES, "convert")


class Move(NamedTuple):
    """An executed instruction and the bytes that it moves.

    Attributes:
        computation: name of the computation that holds the instruction.
        instruction: the instruction.
        executions: number of executions per call.
        size: bytes read and written per execution.
    """

    computation: str
    instruction: Instruction
    executions: int
    size: int

    @property
    def total(self) -> int:
        """Bytes of all executions."""
        return self.executions * self.size


def traffic_bytes(program: Program) -> int:
    """Returns the bytes that one call moves on one device."""
    return sum(move.total for move in moves(program))


def moves(program: Program) -> Iterator[Move]:
    """Yields every executed instruction that moves bytes, with the bytes."""
    inner = {
        instruction.attribute("calls")
        for computation in program.computations.values()
        for instruction in computation.values()
        if instruction.opcode == "fusion"
    }
    for computation, instruction, times in program.executed():
        if computation in inner or instruction.opcode in FREE:
            continue
        if not instruction.opcode.endswith("-done"):
            size = _bytes(instruction, program.computations[computation], program)
            yield Move(computation, instruction, times, size)


def _bytes(instruction: Instruction, computation: dict[str, Instruction], program: Program) -> int:
    operands = [computation[name] for name in instruction.operands if name in computation]
    if instruction.opcode == "fusion":
        return _of_fusion(instruction, operands, program)
    if instruction.opcode == UPDATE:
        return 2 * _in_memory([operands[1]])
    if instruction.opcode in SLICES:
        return 2 * _in_memory([instruction])
    if instruction.opcode == "custom-call":
        return _of_call(instruction, operands)
    if instruction.opcode == "send":  # its first result is its operand
        return _in_memory(operands)
    if instruction.opcode.endswith("-start"):
        return _of_start(instruction, operands)
    return _in_memory([instruction, *operands])


def _of_start(instruction: Instruction, operands: list[Instruction]) -> int:
    """Returns the bytes of an asynchronous copy, slice or collective, whose results say more.

    A copy's are target and source; a collective's and a slice's their operands, then the targets;
    an all-reduce's the targets alone. Numbers of the runtime may follow.
    """
    kind = instruction.opcode.removesuffix("-start")
    arrays = [one for one in instruction.results if one.shape or one.kind not in ("u32", "s32")]
    first = {"copy": 0, "all-reduce": 0}.get(kind, len(arrays) // 2)
    targets = arrays[:1] if kind == "copy" else arrays[first:]
    written = sum(array.size for array in targets if array.in_main_memory)
    if kind in SLICES:
        whole = operands[0].results[0].in_main_memory
        return written + sum(array.size for array in targets) * whole
    return written + _in_memory(operands)


def _of_call(instruction: Instruction, operands: list[Instruction]) -> int:
    if target(instruction) in NO_WORK:
        return 0
    if (cost := kernel_cost(instruction)) is not None:
        near = sum(one.size for one in (instruction, *operands)) - _in_memory(
            [instruction, *operands]
        )
        return max(cost.size - near, 0)  # the kernel cannot know what is already on the chip
    if LIBRARY in target(instruction):  # a product; its other results are scratch
        return _in_memory(operands) + instruction.results[0].size
    return _in_memory([instruction, *operands])


def _of_fusion(instruction: Instruction, operands: list[Instruction], program: Program) -> int:
    called = program.computations[instruction.attribute("calls") or ""]
    parameters = _parameters(called)
    read = sum(
        min(_read(parameters[number], called, program), operand.size)
        for number, operand in enumerate(operands)
        if number in parameters and _in_memory([operand])
    )
    return read + _written(instruction, program)


def _parameters(computation: dict[str, Instruction]) -> dict[int, Instruction]:
    return {int(one.literal): one for one in computation.values() if one.opcode == "parameter"}


def _read(value: Instruction, computation: dict[str, Instruction], program: Program) -> int:
    """Returns the bytes of a value that a fused computation reads."""
    total = value.size if value.root else 0
    for user in computation.values():
        for number in (at for at, name in enumerate(user.operands) if name == value.name):
            if user.opcode in SLICES and number == 0:
                total += user.size
            elif user.opcode == UPDATE and number == 0:
                continue  # written in place
            elif user.opcode in RENAMES or _only_renames(user, program):
                total += _read(user, computation, program)
            elif user.opcode == "fusion":  # a nested fusion
                called = program.computations[user.attribute("calls") or ""]
                total += _read(_parameters(called)[number], called, program)
            else:
                return value.size
    return min(total, value.size)


def _only_renames(one: Instruction, program: Program) -> bool:
    """Returns whether an instruction is a fusion that only arranges its one operand anew."""
    called = program.computations[one.attribute("calls") or ""] if one.opcode == "fusion" else {}
    kinds = [inner.opcode for inner in called.values()]
    return kinds.count("parameter") == 1 and set(kinds) <= {"parameter", *RENAMES}


def _written(instruction: Instruction, program: Program) -> int:
    results = _results(instruction, program)
    if len(results) != len(instruction.results):
        return _in_memory([instruction])
    return sum(
        size
        for array, size in zip(instruction.results, results, strict=True)
        if array.in_main_memory
    )


def _results(fusion: Instruction, program: Program) -> list[int]:
    """Returns the bytes written per result of a fusion; of an update in place, only the update."""
    called = program.computations[fusion.attribute("calls") or ""]
    (root,) = (one for one in called.values() if one.root)
    results = [called[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return [_update(result, called, program) for result in results]


def _update(result: Instruction, called: dict[str, Instruction], program: Program) -> int:
    one = result
    while one.opcode in PASS and one.operands[0] in called:
        one = called[one.operands[0]]
    if one.opcode == UPDATE:
        return called[one.operands[1]].size
    if one.opcode == "fusion" and len(one.results) == 1:
        return min(sum(_results(one, program)), result.size)
    return result.size


def _in_memory(instructions: Iterable[Instruction]) -> int:
    return sum(array.size for one in instructions for array in one.results if array.in_main_memory)
