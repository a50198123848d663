"""The arrays that the kernels read, and how they are cut into blocks."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int


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

    def cut(self, query: Any, keys: Any, biases: Any, of_queries: Any, of_keys: Any) -> Any:
        """Returns how each array is cut, None for those that are not given.

        Args:
            query, keys, biases: how these are cut; values are cut like keys.
            of_queries, of_keys: how the example numbers are cut.
        """
        return Inputs(
            query=query,
            keys=keys,
            values=keys,
            biases=None if self.biases is None else biases,
            query_numbers=None if self.query_numbers is None else of_queries,
            key_numbers=None if self.key_numbers is None else of_keys,
        )
