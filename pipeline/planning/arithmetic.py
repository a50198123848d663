"""FLOPs of a program's matrix products, loops counted as often as they run.

Two operations a multiply-add, of `dot` and `convolution` alone: XLA for TPUs writes every product
as a convolution, a batch of them as one with dilation, whose padding must not be counted. What is
counted is what the program does, so rematerialised products and empty slots are in it; the model's
own FLOPs are `model.config.forward_flops`. Source of the rule: XLA's `HloCostAnalysis`.

For GPUs most products are calls of a library, which name the dimensions that they contract.

A product of float32 operands at `highest` precision, as the router's is, takes a matrix unit that
multiplies bfloat16 six passes, at `high` three (JAX's `jax.lax.Precision`).
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.planning.program import Instruction, Program

PASSES = {"highest": 6, "high": 3}
LIBRARY = 'custom_call_target="__cublas$'  # and `gemm`, or `lt$matmul`


class Products(NamedTuple):
    """The matrix products of one call on one device.

    Attributes:
        flops: two a multiply-add.
        passes: the same, with those in float32 counted as often as a bfloat16 unit makes them.
    """

    flops: int
    passes: int


def products(program: Program) -> Products:
    """Returns what a program multiplies."""
    flops = passes = 0
    for computation, instruction, times in program.everywhere():
        here = times * _flops(instruction, program.computations[computation])
        flops += here
        passes += here * _passes(instruction)
    return Products(flops, passes)


def _passes(instruction: Instruction) -> int:
    found = re.search(r'operand_precision(?:=\{|":\[")(\w+)', instruction.attributes)
    return PASSES.get(found.group(1).lower(), 1) if found else 1


def _flops(instruction: Instruction, computation: dict[str, Instruction]) -> int:
    if LIBRARY in instruction.attributes:
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
    """A spatial dimension of a convolution."""

    size: int
    stride: int = 1
    padding: int = 0
    left_dilation: int = 1
    right_dilation: int = 1

    def pairs(self, inputs: int, outputs: int) -> int:
        """Returns how many (output, kernel) places meet an input and not padding or dilation."""
        place = (
            np.arange(outputs)[:, None] * self.stride
            - self.padding
            + np.arange(self.size) * self.right_dilation
        )
        real = (place >= 0) & (place % self.left_dilation == 0)
        return int(np.sum(real & (place // self.left_dilation < inputs)))


def _windows(attributes: str) -> list[Window]:
    found = re.search(r"window=\{([^}]*)\}", attributes)
    if found is None or not found.group(1):
        return []
    fields = dict(field.split("=") for field in found.group(1).split())
    sizes = [int(size) for size in fields["size"].split("x")]

    def each(name: str, missing: int) -> list[int]:
        texts = fields[name].split("x") if name in fields else [str(missing)] * len(sizes)
        return [int(text.split("_")[0]) for text in texts]

    return [
        Window(*of_one)
        for of_one in zip(
            sizes,
            each("stride", 1),
            each("pad", 0),
            each("lhs_dilate", 1),
            each("rhs_dilate", 1),
            strict=True,
        )
    ]


def _numbers(attributes: str, name: str) -> list[int]:
    found = re.search(rf"\b{name}=\{{([\d,]*)\}}", attributes)
    return [int(number) for number in found.group(1).split(",") if number] if found else []
