"""Memory of one device that a compiled program needs, in parts.

The compiler assigns every buffer, so memory is that of a run except for the allocator's
fragmentation. A program whose temporaries alone exceed a device's memory is refused by the
compiler, which names their size.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import jax

from model.config import ConfigurationError
from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.origins import BACKWARD
from pipeline.planning.hlo.program import Program

SAME = ("bitcast", "convert", "copy", "copy-done", "copy-start")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of one device while a program runs, in bytes.

    Attributes:
        parameters, optimizer, batch: size of each part of the state and of the batch, from its
            sharding. The optimizer's statistics stay where they are while a run scores.
        padding: padding of the arguments to the compiler's tiles.
        kept: activations that the loop over blocks keeps for the backward pass; 0 where few blocks
            are unrolled, as activations are then among the temporaries.
        temporaries: all other buffers of the program, including gradients.
        program: size of the compiled program.
    """

    parameters: int
    optimizer: int
    batch: int
    padding: int
    kept: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """Sum of all parts; results reuse the buffers of the arguments (donation)."""
        return sum(vars(self).values())


def stored_bytes(shapes: Any, shardings: Any) -> int:
    """Returns the bytes of one device's parts of arrays."""
    return sum(
        math.prod(sharding.shard_shape(shape.shape)) * shape.dtype.itemsize
        for shape, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    )


def compiled_memory(
    compiled: jax.stages.Compiled,
    program: Program,
    arguments: dict[str, int],
    resident: dict[str, int],
) -> Memory:
    """Returns the memory of a compiled program.

    Args:
        compiled: program as JAX returns it.
        program: the same, parsed.
        arguments: bytes of its arguments by kind.
        resident: bytes by kind of what a device holds beside them.
    """
    sizes: Any = compiled.memory_analysis()
    kept = kept_for_backward(program)
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return Memory(
        **arguments,
        **resident,
        padding=sizes.argument_size_in_bytes - sum(arguments.values()),
        kept=kept,
        temporaries=sizes.temp_size_in_bytes + results - kept,
        program=sizes.generated_code_size_in_bytes,
    )


def refused_memory(error: Exception, arguments: dict[str, int]) -> Memory:
    """Returns the memory of a program that the compiler refuses, from its message.

    Raises:
        ConfigurationError: if the compiler itself ran out of memory.
    """
    found = re.search(r"required for HLO temporaries \(([\d.]+)([KMGT])\)", str(error))
    if found is None:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise ConfigurationError(
                f"The compiler ran out of memory: {error} Lower rows or plan a larger slice."
            ) from error
        raise error
    temporaries = round(float(found.group(1)) * UNITS[found.group(2)])
    return Memory(**arguments, padding=0, kept=0, temporaries=temporaries, program=0)


def kept_for_backward(program: Program) -> int:
    """Returns the bytes passed from a forward loop to a backward loop, stacked over blocks."""
    total = 0
    for computation, loop, _ in program.executed():
        if loop.opcode != "while" or BACKWARD not in loop.operation:
            continue
        values = program.computations[computation]
        initial = values[loop.operands[0]]
        total += sum(
            values[name].size
            for name in set(initial.operands)
            if name in values and _from_forward_loop(values[name], values)
        )
    return total


def _from_forward_loop(value: Instruction, values: dict[str, Instruction]) -> bool:
    while value.opcode in SAME and value.operands[0] in values:
        value = values[value.operands[0]]
    if value.opcode != "get-tuple-element":
        return False
    source = values[value.operands[0]]
    return source.opcode == "while" and BACKWARD not in source.operation
