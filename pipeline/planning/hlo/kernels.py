"""Cost of kernels written by hand, which a compiled program holds as opaque calls.

A kernel states its FLOPs and the bytes that it moves, re-fetches of blocks included, where it is
called: in JAX's `cost_estimate`, which XLA prints for TPUs, and in the call's `metadata`, which it
prints for GPUs. Calls that state nothing are listed, and their operands and results count once.
"""

import re
from collections import Counter
from typing import NamedTuple

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.program import Program

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
