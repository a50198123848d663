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
from typing import NamedTuple

import numpy as np

from pipeline.planning.hlo.program import FUSIONS, Computation, Instruction, Program, root_of

TARGET = re.compile(r'custom_call_target="([^"]+)"')
QUOTE = r'(?:"|\\22)'  # for GPUs the metadata is a string within a string
STATED = rf"{QUOTE}{{name}}{QUOTE}: ?{QUOTE}(\d+){QUOTE}"
LIBRARY = "__cublas$"  # and `gemm`, or `lt$matmul`: products, which name what they contract
# Notes of the compiler to itself.
NO_WORK = ("AllocateBuffer", "AssumeGatherIndicesInBound", "Sharding")
PASSES = {"highest": 6, "high": 3}
WINDOW_FIELDS = {"size": "", "stride": "1", "pad": "0", "lhs_dilate": "1", "rhs_dilate": "1"}
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
    for computation, instruction, times in program.executed_instructions():
        executed = times * _flops(instruction, program.computations[computation])
        flops += executed
        passes += executed * _passes(instruction)
    return Products(flops, passes)


def _passes(instruction: Instruction) -> int:
    precision = re.search(r'operand_precision(?:=\{|":\[")(\w+)', instruction.attributes)
    return PASSES.get(precision.group(1).lower(), 1) if precision else 1


def _flops(instruction: Instruction, computation: Computation) -> int:
    if (cost := kernel_cost(instruction)) is not None:
        return cost.flops
    is_library_call = LIBRARY in target(instruction)
    if not is_library_call and instruction.opcode not in ("dot", "convolution"):
        return 0
    left = computation[instruction.operands[0]].results[0].shape
    if instruction.opcode == "convolution":
        right = computation[instruction.operands[1]].results[0].shape
        return 2 * _products_of_convolution(instruction, left, right)
    contracted = (
        _numbers(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction)
        if is_library_call
        else _numbers(r"\blhs_contracting_dims=\{([\d,]*)\}", instruction)
    )
    return 2 * math.prod(instruction.results[0].shape) * math.prod(left[i] for i in contracted)


def _numbers(pattern: str, instruction: Instruction) -> list[int]:
    """Returns the numbers in the first group of a pattern; none where it does not match."""
    match = re.search(pattern, instruction.attributes)
    return [int(number) for number in re.findall(r"\d+", match.group(1))] if match else []


def _products_of_convolution(
    instruction: Instruction, left: tuple[int, ...], right: tuple[int, ...]
) -> int:
    labels = instruction.attribute("dim_labels")
    assert labels is not None  # every convolution has them
    inputs, kernel, output = re.split(r"_|->", labels)
    groups = int(instruction.attribute("batch_group_count") or 1)
    count = left[inputs.index("b")] // groups * math.prod(right[kernel.index(i)] for i in "io")
    for number, window in enumerate(_windows(instruction.attributes)):
        size = left[inputs.index(str(number))]
        outputs = instruction.results[0].shape[output.index(str(number))]
        count *= _pairs(size, outputs, *window)
    return count


def _windows(attributes: str) -> list[list[int]]:
    """Returns the window of a convolution per spatial dimension, in the order of its fields."""
    match = re.search(r"window=\{([^}]*)\}", attributes)
    if match is None or not match.group(1):
        return []
    fields = dict(field.split("=") for field in match.group(1).split())
    dimensions = fields["size"].count("x") + 1
    columns = (
        fields.get(name, "x".join([missing] * dimensions)).split("x")
        for name, missing in WINDOW_FIELDS.items()
    )
    return [
        [int(text.split("_")[0]) for text in dimension] for dimension in zip(*columns, strict=True)
    ]


def _pairs(
    inputs: int,
    outputs: int,
    window: int,
    stride: int,
    padding: int,
    left_dilation: int,
    right_dilation: int,
) -> int:
    """Returns the number of (output, kernel) pairs that meet an input and no padding."""
    position = np.arange(outputs)[:, None] * stride - padding + np.arange(window) * right_dilation
    real = (position >= 0) & (position % left_dilation == 0)
    return int(np.sum(real & (position // left_dilation < inputs)))


class KernelCost(NamedTuple):
    """Cost of one call of a kernel.

    Attributes:
        flops: operations of its matrix products, two per multiply-add.
        size: bytes to and from main memory.
    """

    flops: int
    size: int


def kernel_cost(instruction: Instruction) -> KernelCost | None:
    """Returns the cost that a kernel states; None for other instructions and other kernels."""
    if instruction.opcode != "custom-call":
        return None
    stated = (
        re.search(STATED.format(name=name), instruction.attributes)
        for name in ("flops", "bytes_accessed")
    )
    numbers = [int(match.group(1)) for match in stated if match]
    return KernelCost(*numbers) if len(numbers) == 2 else None


def target(instruction: Instruction) -> str:
    """Returns the name of the code that a custom call runs; empty for other instructions."""
    match = TARGET.search(instruction.attributes)
    return match.group(1) if match and instruction.opcode == "custom-call" else ""


def kernel_flops(program: Program) -> int:
    """Returns the FLOPs per call of the program that its kernels state."""
    costs = (
        (times, kernel_cost(instruction))
        for _, instruction, times in program.executed_instructions()
    )
    return sum(times * cost.flops for times, cost in costs if cost is not None)


def unknown_calls(program: Program) -> dict[str, int]:
    """Returns the executions per call of the program of kernels that state no cost, by target."""
    calls: Counter[str] = Counter()
    for _, instruction, times in program.executed_instructions():
        name = target(instruction)
        if name and name not in NO_WORK and LIBRARY not in name and not kernel_cost(instruction):
            calls[name] += times
    return dict(sorted(calls.items()))


def traffic_bytes(program: Program) -> int:
    """Returns the bytes that one call moves on one device."""
    return sum(move.total for move in _moves(program))


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


def _moves(program: Program) -> Iterator[Move]:
    """Yields every executed instruction that moves bytes, with the bytes."""
    for computation, instruction, times in program.executed_instructions():
        if instruction.opcode in FREE or instruction.opcode.endswith("-done"):
            continue
        if program.fusion_of(computation) is None:  # of a fusion the whole counts
            size = _bytes(instruction, program.computations[computation], program)
            yield Move(computation, instruction, times, size)


def _bytes(instruction: Instruction, computation: Computation, program: Program) -> int:
    operands = [computation[name] for name in instruction.operands if name in computation]
    if instruction.opcode in FUSIONS:
        return _fusion_bytes(instruction, operands, program)
    if instruction.opcode == UPDATE:
        return 2 * _in_memory([operands[1]])
    if instruction.opcode in SLICES:
        return 2 * _in_memory([instruction])
    if instruction.opcode == "custom-call":
        return _call_bytes(instruction, operands)
    if instruction.opcode == "send":  # its first result is its operand
        return _in_memory(operands)
    if instruction.opcode.endswith("-start"):
        return _start_bytes(instruction, operands)
    return _in_memory([instruction, *operands])


def _in_memory(instructions: Iterable[Instruction]) -> int:
    """Returns the bytes of the results that are in main memory."""
    return sum(
        array.size
        for instruction in instructions
        for array in instruction.results
        if array.in_main_memory
    )


def _fusion_bytes(fusion: Instruction, operands: list[Instruction], program: Program) -> int:
    called = program.computations[fusion.attribute("calls") or ""]
    parameters = _parameters(called)
    read = sum(
        min(_bytes_read(parameters[number], called, program), operand.size)
        for number, operand in enumerate(operands)
        if number in parameters and _in_memory([operand])
    )
    written = _bytes_written(fusion, program)
    if fusion.opcode == "fusion-start":  # its results hold its operands, too
        return read + sum(written)
    if len(written) != len(fusion.results):
        return read + _in_memory([fusion])
    return read + sum(
        size for array, size in zip(fusion.results, written, strict=True) if array.in_main_memory
    )


def _parameters(computation: Computation) -> dict[int, Instruction]:
    values = computation.values()
    return {int(value.literal): value for value in values if value.opcode == "parameter"}


def _bytes_read(value: Instruction, computation: Computation, program: Program) -> int:
    """Returns the bytes of a value that a fused computation reads."""
    total = value.size if value.root else 0
    for user in computation.values():
        for number in (at for at, name in enumerate(user.operands) if name == value.name):
            if user.opcode in SLICES and number == 0:
                total += user.size
            elif user.opcode == UPDATE and number == 0:
                continue  # written in place
            elif user.opcode in RENAMES or _only_renames(user, program):
                total += _bytes_read(user, computation, program)
            elif user.opcode == "fusion":  # a nested fusion
                called = program.computations[user.attribute("calls") or ""]
                total += _bytes_read(_parameters(called)[number], called, program)
            else:
                return value.size
    return min(total, value.size)


def _only_renames(value: Instruction, program: Program) -> bool:
    """Returns whether a value is a fusion's that only arranges its single operand anew."""
    if value.opcode != "fusion":
        return False
    called = program.computations[value.attribute("calls") or ""]
    opcodes = [instruction.opcode for instruction in called.values()]
    return opcodes.count("parameter") == 1 and set(opcodes) <= {"parameter", *RENAMES}


def _bytes_written(fusion: Instruction, program: Program) -> list[int]:
    """Returns the bytes written per result of a fusion; of an update in place, only the update."""
    called = program.computations[fusion.attribute("calls") or ""]
    root = root_of(called)
    if LIBRARY in target(root):  # a product; its other results are scratch
        return [root.results[0].size, *(0 for _ in root.results[1:])]
    results = [called[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return [_bytes_of_result(result, called, program) for result in results]


def _bytes_of_result(result: Instruction, called: Computation, program: Program) -> int:
    value = result
    while value.opcode in (*RENAMES, "convert") and value.operands[0] in called:
        value = called[value.operands[0]]
    if value.opcode == UPDATE:
        return called[value.operands[1]].size
    if value.opcode == "fusion" and len(value.results) == 1:
        return min(sum(_bytes_written(value, program)), result.size)
    return result.size


def _call_bytes(call: Instruction, operands: list[Instruction]) -> int:
    if target(call) in NO_WORK:
        return 0
    moved = _in_memory([call, *operands])
    if (cost := kernel_cost(call)) is not None:
        near = sum(value.size for value in (call, *operands)) - moved
        return max(cost.size - near, 0)  # the kernel cannot know what is already on the chip
    if LIBRARY in target(call):  # a product; its other results are scratch
        return _in_memory(operands) + call.results[0].size
    return moved


def _start_bytes(start: Instruction, operands: list[Instruction]) -> int:
    """Returns the bytes of an asynchronous copy, slice or collective, whose results hold more.

    A copy's are target and source; a collective's and a slice's their operands, then the targets;
    an all-reduce's the targets alone. Numbers of the runtime may follow.
    """
    kind = start.opcode.removesuffix("-start")
    arrays = [array for array in start.results if array.shape or array.kind not in ("u32", "s32")]
    if kind == "copy":
        targets = arrays[:1]
    else:
        targets = arrays if kind == "all-reduce" else arrays[len(arrays) // 2 :]
    written = sum(array.size for array in targets if array.in_main_memory)
    if kind in SLICES:
        whole = operands[0].results[0].in_main_memory
        return written + sum(array.size for array in targets) * whole
    return written + _in_memory(operands)


def largest_moves(program: Program, count: int) -> Iterator[str]:
    """Yields a table of the `count` instructions that move the most bytes, the largest first.

    It has a heading and two lines per instruction: bytes of all executions in a step, their share,
    executions and operation; then the results and operands.
    """
    yield "      GB   share  executions  operation; below it results <- operands (* on chip)"
    moves = list(_moves(program))
    whole = sum(move.total for move in moves)
    for move in heapq.nlargest(count, moves, key=lambda move: move.total):
        if move.total:
            instruction, values = move.instruction, program.computations[move.computation]
            numbers = f"{move.total / 1e9:8.2f}  {move.total / whole:6.1%}  {move.executions:10,}"
            yield f"{numbers}  {instruction.opcode} {instruction.operation}"
            operands = [values[name] for name in instruction.operands if name in values]
            yield f"{'':29}{_shapes([instruction])} <- {_shapes(operands)}"


def _shapes(instructions: Iterable[Instruction]) -> str:
    """Returns the shapes of results, with an asterisk where they are in on-chip memory."""
    return " ".join(
        f"{array.kind}{list(array.shape)}{'' if array.in_main_memory else '*'}".replace(", ", ",")
        for instruction in instructions
        for array in instruction.results
    )
