"""The arrays that all kernels on a GPU read, and how they are cut into blocks."""

from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Int

from model.kernels.gpu.blocks import Blocks


class Inputs(NamedTuple):
    """Arrays of all passes; in a kernel, references to their blocks.

    Attributes:
        biases: each head's bias by offset (`Blocks.offsets`); None without bias.
        query_numbers: example of each query; None if every key with the number 0 is seen.
        key_numbers: example of each key, negative for padding; None if no key is masked.
    """

    query: Float[Array, "batch queries heads head"]
    keys: Float[Array, "batch keys heads head"]
    values: Float[Array, "batch keys heads head"]
    biases: Float[Array, "heads offsets"] | None
    query_numbers: Int[Array, "batch queries"] | None
    key_numbers: Int[Array, "batch keys"] | None

    def operands(self, blocks: Blocks, passes_over: Literal["keys", "queries"]) -> "Inputs":
        """Returns how the arrays are cut for a kernel that passes over keys, or queries."""
        dtype = self.query.dtype
        over_keys = passes_over == "keys"
        of_queries = blocks.tile if over_keys else blocks.whole
        of_keys = (blocks.whole if over_keys else blocks.tile)(blocks.keys, dtype)
        cut = (
            of_queries(blocks.queries, dtype),
            of_keys,
            of_keys,
            blocks.biases,
            blocks.numbers(blocks.queries),
            blocks.numbers(blocks.keys),
        )
        given = (operand if x is not None else None for operand, x in zip(cut, self, strict=True))
        return Inputs(*given)  # type: ignore[arg-type]
