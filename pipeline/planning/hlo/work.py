"""The work of a compiled program, multiplied by trip counts: FLOPs, bytes of memory, kernels.

**FLOPs** are those of matrix products. A multiply-add counts as two operations; only `dot` and
`convolution` are counted. XLA for TPUs writes every product as a convolution and a batch of
products as one with dilation, whose padding is not work. For GPUs most products are library calls,
which name the dimensions that they contract. Rematerialised products and empty expert slots are
included, as the program computes them; `model.flops.forward_flops` returns the model's own FLOPs.
The rule is that of XLA's `HloCostAnalysis`. A product of float32 operands at `highest` precision,
such as the router's, takes six passes of a bfloat16 matrix unit, and at `high` precision three
(`jax.lax.Precision`).

**Bytes** are those moved to and from a device's main memory. Each fusion reads its operands and
writes its result once. Arrays in on-chip memory are not counted; of a slice of a stacked array only
the slice is, and of an update in place only the update. Repeated reads by a fusion and padding to
tiles are left out, so the sum is a lower bound, as a roofline requires.

**Kernels** written by hand state their FLOPs and the bytes that they move, re-fetches of blocks
included, where they are called: in JAX's `cost_estimate`, which XLA prints for TPUs, and in the
call's `metadata`, which it prints for GPUs. Calls that state nothing are listed, and their operands
and results count once.
"""

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.planning.hlo.program import Instruction, Program

TARGET = re.compile(r'custom_call_target="([^"]+)"')
QUOTE = r'(?:"|\\22)'  # for GPUs the metadata is a string within a string
STATED = rf"{QUOTE}{{name}}{QUOTE}: ?{QUOTE}(\d+){QUOTE}"
LIBRARY = "__cublas$"  # and `gemm`, or `lt$matmul`: products, which name what they contract
# Notes of the compiler to itself.
NO_WORK = ("AllocateBuffer", "AssumeGatherIndicesInBound", "Sharding")


class KernelCost(NamedTuple):
    """Cost of one call of a kernel.

    Attributes:
        flops: operations of its matrix products, two per multiply-add.
        size: bytes to and from main memory.
    """

    flops: int
    size: int


def kernel_cost(instruction: Instruction) -> KernelCost | None:
    """Returns what a kernel states; None for other instructions and for kernels without it."""
    if instruction.opcode != "custom-call":
        return None
    flops = _stated(instruction, "flops")
    size = _stated(instruction, "bytes_accessed")
    return None if flops is None or size is None else KernelCost(flops, size)


def _stated(instruction: Instruction, name: str) -> int | None:
    found = re.search(STATED.format(name=name), instruction.attributes)
    return int(found.group(1)) if found else None


def target(instruction: Instruction) -> str:
    """Returns the name of the code that a custom call runs; empty for other instructions."""
    found = TARGET.search(instruction.attributes)
    return found.group(1) if found and instruction.opcode == "custom-call" else ""


def kernel_flops(program: Program) -> int:
    """Returns the FLOPs per call of the program that its kernels state."""
    costs = ((times, kernel_cost(one)) for _, one, times in program.executed())
    return sum(times * cost.flops for times, cost in costs if cost is not None)


def unknown_calls(program: Program) -> dict[str, int]:
    """Returns the executions per call of the program of kernels that state no cost, by target."""
    calls: Counter[str] = Counter()
    for _, instruction, times in program.executed():
        name = target(instruction)
        if name and name not in NO_WORK and LIBRARY not in name and not kernel_cost(instruction):
            calls[name] += times
    return dict(sorted(calls.items()))


PASSES = {"highest": 6, "high": 3}
WINDOW_FIELDS = {"size": "", "stride": "1", "pad": "0", "lhs_dilate": "1", "rhs_dilate": "1"}


class Products(NamedTuple):
    """Matrix products of one call of a program on one device.

    Attributes:
        flops: operations, two per multiply-add.
        passes: operations, those in float32 multiplied by the passes of a bfloat16 unit.
    """

    flops: int
    passes: int


def products(program: Program) -> Products:
    """Returns the matrix products of a program."""
    flops = passes = 0
    for computation, instruction, times in program.executed():
        here = times * _flops(instruction, program.computations[computation])
        flops += here
        passes += here * _passes(instruction)
    return Products(flops, passes)


def _passes(instruction: Instruction) -> int:
    found = re.search(r'operand_precision(?:=\{|":\[")(\w+)', instruction.attributes)
    return PASSES.get(found.group(1).lower(), 1) if found else 1


def _flops(instruction: Instruction, computation: dict[str, Instruction]) -> int:
    if (cost := kernel_cost(instruction)) is not None:
        return cost.flops
    if LIBRARY in target(instruction):
        (left,) = computation[instruction.operands[0]].results
        contracted = _contracted_by_library(instruction)
        products = math.prod(left.shape[i] for i in contracted)
        return 2 * math.prod(instruction.results[0].shape) * products
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (computation[name].results[0].shape for name in instruction.operands)
    if instruction.opcode == "dot":
        contracted = _numbers(instruction.attributes, "lhs_contracting_dims")
        return 2 * math.prod(instruction.results[0].shape) * math.prod(left[i] for i in contracted)
    return 2 * _products_of_convolution(instruction, left, right)


def _contracted_by_library(instruction: Instruction) -> list[int]:
    found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes)
    return [int(number) for number in re.findall(r"\d+", found.group(1))] if found else []


def _products_of_convolution(
    instruction: Instruction, left: tuple[int, ...], right: tuple[int, ...]
) -> int:
    labels = instruction.attribute("dim_labels")
    assert labels is not None  # every convolution has them
    inputs, kernel, output = re.split(r"_|->", labels)
    groups = int(instruction.attribute("batch_group_count") or 1)
    windows = _windows(instruction.attributes)
    count = left[inputs.index("b")] // groups * math.prod(right[kernel.index(i)] for i in "io")
    for number, window in enumerate(windows):
        sizes = (
            left[inputs.index(str(number))],
            instruction.results[0].shape[output.index(str(number))],
        )
        count *= window.pairs(*sizes)
    return count


@dataclass(frozen=True)
class Window:
    """Window of a convolution along one spatial dimension, in the order of `WINDOW_FIELDS`."""

    size: int
    stride: int
    padding: int
    left_dilation: int
    right_dilation: int

    def pairs(self, inputs: int, outputs: int) -> int:
        """Returns the number of (output, kernel) pairs that meet an input and no padding."""
        position = (
            np.arange(outputs)[:, None] * self.stride
            - self.padding
            + np.arange(self.size) * self.right_dilation
        )
        real = (position >= 0) & (position % self.left_dilation == 0)
        return int(np.sum(real & (position // self.left_dilation < inputs)))


def _windows(attributes: str) -> list[Window]:
    found = re.search(r"window=\{([^}]*)\}", attributes)
    if found is None or not found.group(1):
        return []
    fields = dict(field.split("=") for field in found.group(1).split())
    dimensions = fields["size"].count("x") + 1
    columns = (
        fields.get(name, "x".join([missing] * dimensions)).split("x")
        for name, missing in WINDOW_FIELDS.items()
    )
    return [
        Window(*(int(text.split("_")[0]) for text in of_one))
        for of_one in zip(*columns, strict=True)
    ]


def _numbers(attributes: str, name: str) -> list[int]:
    found = re.search(rf"\b{name}=\{{([\d,]*)\}}", attributes)
    return [int(number) for number in found.group(1).split(",") if number] if found else []


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
