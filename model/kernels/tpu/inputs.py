"""The arrays that both kernels on a TPU read, and how they are cut into blocks."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int

from model.kernels.tpu.blocks import Blocks


class Inputs(NamedTuple):
    """Arrays of both passes; in a kernel, references to their blocks.

    Attributes:
        biases: each head's bias by offset (`Blocks.offsets`); None without bias.
        query_numbers: example of each query; None if every key with the number 0 is seen.
        key_numbers: example of each key, negative for padding; None if no key is masked.
    """

    query: Float[Array, "batch queries width"]
    keys: Float[Array, "batch keys width"]
    values: Float[Array, "batch keys width"]
    biases: Float[Array, "blocks together offsets"] | None
    query_numbers: Int[Array, "batch 1 queries"] | None
    key_numbers: Int[Array, "batch 1 keys"] | None

    def operands(self, blocks: Blocks) -> "Inputs":
        """Returns how the arrays are cut into blocks."""
        dtype = self.query.dtype
        of_keys = blocks.key_like(dtype)
        cut = (
            blocks.query_like(dtype),
            of_keys,
            of_keys,
            blocks.biases,
            blocks.query_numbers,
            blocks.key_numbers,
        )
        given = (operand if x is not None else None for operand, x in zip(cut, self, strict=True))
        return Inputs(*given)  # type: ignore[arg-type]
