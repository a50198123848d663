"""Arguments of fused attention on either kind of device, and what a kernel costs.

Arguments are the arrays that kernels read, and how these are cut into blocks. A cost is bytes and
operations. XLA does not see inside a kernel: `pl.CostEstimate` carries these numbers into the
compiled program, where `mswitch plan` reads them.

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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Float, Int

if TYPE_CHECKING:  # only a device with kernels loads it
    from jax.experimental import pallas as pl

Platform = Literal["tpu", "gpu"]
MASKED = -1e9  # score of a masked key, as in `model/layers/attention.py`
PADDING = -1  # example number of a masked key: no query has it


class Numbers(NamedTuple):
    """Example numbers, by which keys are masked: a query sees the keys with its number.

    Attributes:
        queries: number of each query; None if all are 0.
        keys: number of each key, `PADDING` if it is masked; None if every query sees every key.
    """

    queries: Int[Array, "batch queries"] | None
    keys: Int[Array, "batch keys"] | None


class Arguments(NamedTuple):
    """Arrays; in gradients, the gradient of each."""

    query: Float[Array, "batch queries width"]
    keys: Float[Array, "batch keys width"]
    values: Float[Array, "batch keys width"]
    table: Float[Array, "buckets heads"] | None
    numbers: Numbers


class Setting(NamedTuple):
    """What is known before the kernel is compiled."""

    heads: int
    bidirectional: bool
    causal: bool
    platform: Platform
    interpret: bool


class Inputs(NamedTuple):
    """Arrays of all passes; in a kernel, references to their blocks.

    A TPU's kernels take all heads side by side, a GPU's have a dimension of heads.

    Attributes:
        biases: each head's bias by offset (`offsets` of the blocks); None without bias.
        query_numbers: example of each query; None if every key with the number 0 is seen.
        key_numbers: example of each key, negative for padding; None if no key is masked.
    """

    query: Float[Array, "batch queries *width"]
    keys: Float[Array, "batch keys *width"]
    values: Float[Array, "batch keys *width"]
    biases: Float[Array, "*heads offsets"] | None
    query_numbers: Int[Array, "batch *queries"] | None
    key_numbers: Int[Array, "batch *keys"] | None

    def cut(self, query: Any, keys: Any, biases: Any, query_numbers: Any, key_numbers: Any) -> Any:
        """Returns how each array is cut, None for those that are not given.

        Args:
            query, keys, biases: how these are cut; values are cut like keys.
            query_numbers, key_numbers: how the example numbers are cut.
        """
        return Inputs(
            query=query,
            keys=keys,
            values=keys,
            biases=None if self.biases is None else biases,
            query_numbers=None if self.query_numbers is None else query_numbers,
            key_numbers=None if self.key_numbers is None else key_numbers,
        )


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
    def spec(self) -> "pl.BlockSpec":
        """The same for `pallas_call`."""
        from jax.experimental import pallas as pl

        return pl.BlockSpec(self.block, self.index)

    def bytes_at(self, index: tuple[int, ...]) -> int:
        """Returns the bytes of the block with this index that lie inside the array."""
        sizes = [1 if size is None else size for size in self.block]
        inside = [
            min(size, length - number * size)
            for size, length, number in zip(sizes, self.array.shape, index, strict=True)
        ]
        return math.prod(inside) * self.array.dtype.itemsize

    def moved_bytes(self, steps: Sequence[tuple[int, ...]]) -> int:
        """Returns the bytes that are moved if the grid's steps are taken in this order."""
        indices = (self.index(*step) for step in steps)
        return sum(self.bytes_at(index) for index, _ in itertools.groupby(indices))


def map_operands(function: Callable[[Operand], Any], operands: Any) -> Any:
    """Returns a tree of operands with the function of each."""
    return jax.tree.map(function, operands, is_leaf=lambda leaf: isinstance(leaf, Operand))


def operand_list(*trees: Any) -> list[Operand]:
    """Returns the operands of trees."""
    return jax.tree.leaves(trees, is_leaf=lambda leaf: isinstance(leaf, Operand))


def estimate(
    grid: tuple[int, ...],
    operands: Sequence[Operand],
    *,
    flops: int,
    exponentials: int,
    first_fastest: bool = False,
) -> "pl.CostEstimate":
    """Returns the cost of a kernel with these inputs and outputs.

    Args:
        flops: floating-point operations of the matrix products in the whole grid, on blocks as they
            are, padding included.
        exponentials: exponentials in the whole grid.
        first_fastest: True on GPUs.
    """
    from jax.experimental import pallas as pl

    sizes = grid[::-1] if first_fastest else grid
    steps = list(itertools.product(*map(range, sizes)))
    if first_fastest:
        steps = [step[::-1] for step in steps]
    moved = sum(operand.moved_bytes(steps) for operand in operands)
    return pl.CostEstimate(flops=flops, transcendentals=exponentials, bytes_accessed=moved)
