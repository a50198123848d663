"""Bytes and floating-point operations of a kernel, from its grid and block specs.

XLA does not see inside a kernel. `pl.CostEstimate` carries these numbers into the compiled program,
where `mswitch plan` reads them.

A block is moved when its index differs from that of the previous grid step: a block that stays is
moved once, and one to which the grid returns is moved again. The part of a block outside its array
is not moved. The last dimension of the grid varies fastest; on GPUs the first does, which is the
order in which they start thread blocks. There the comparison with the previous step models the L2
cache, which holds a block for the thread blocks that run at the same time.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import pallas as pl


@dataclass(frozen=True)
class Operand:
    """An input or output of a kernel.

    Attributes:
        array: shape and type of the whole array.
        block: sizes of a block; None for a dimension that the kernel does not see, of size 1.
        index: function from a grid step to the number of the block along each dimension.
    """

    array: jax.ShapeDtypeStruct
    block: tuple[int | None, ...]
    index: Callable[..., tuple[Any, ...]]

    @property
    def spec(self) -> pl.BlockSpec:
        """The same for `pallas_call`."""
        return pl.BlockSpec(self.block, self.index)

    def bytes_at(self, index: tuple[int, ...]) -> int:
        """Returns the bytes of the block with this index that lie inside the array."""
        sizes = [1 if size is None else size for size in self.block]
        inside = [
            min(size, length - number * size)
            for size, length, number in zip(sizes, self.array.shape, index, strict=True)
        ]
        return math.prod(inside) * self.array.dtype.itemsize

    def moved(self, steps: Sequence[tuple[int, ...]]) -> int:
        """Returns the bytes that are moved if the grid's steps are taken in this order."""
        indices = (self.index(*step) for step in steps)
        return sum(self.bytes_at(index) for index, _ in itertools.groupby(indices))


def estimate(
    grid: tuple[int, ...],
    operands: Sequence[Operand],
    *,
    flops: int,
    exponentials: int,
    first_fastest: bool = False,
) -> pl.CostEstimate:
    """Returns the cost of a kernel with these inputs and outputs.

    Args:
        flops: floating-point operations of the matrix products in the whole grid, on blocks as they
            are, padding included.
        exponentials: exponentials in the whole grid.
        first_fastest: True on GPUs.
    """
    sizes = grid[::-1] if first_fastest else grid
    steps = list(itertools.product(*map(range, sizes)))
    if first_fastest:
        steps = [step[::-1] for step in steps]
    moved = sum(operand.moved(steps) for operand in operands)
    return pl.CostEstimate(flops=flops, transcendentals=exponentials, bytes_accessed=moved)
