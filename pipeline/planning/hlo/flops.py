"""FLOPs of a compiled program's matrix products, multiplied by the trip counts of its loops.

A multiply-add counts as two operations; only `dot` and `convolution` are counted. XLA for TPUs
writes every product as a convolution and a batch of products as one with dilation, whose padding is
not work. Rematerialised products and empty expert slots are included, as the program computes them;
`model.flops.forward_flops` returns the model's own FLOPs. The rule is that of XLA's
`HloCostAnalysis`.

For GPUs most products are library calls, which name the dimensions that they contract. A kernel
states its FLOPs (`kernels.py`).

A product of float32 operands at `highest` precision, such as the router's, takes six passes of a
bfloat16 matrix unit, and at `high` precision three (`jax.lax.Precision`).
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.planning.hlo.instruction import Instruction
from pipeline.planning.hlo.kernels import LIBRARY, kernel_cost, target
from pipeline.planning.hlo.program import Program

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
