"""The most likely next token, again and again."""

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from model.decoding.cached_decoding import cached_decoder
from model.decoding.generation import Sampling, generate
from model.transformer import Transformer


def written_greedily(
    model: Transformer, inputs: Int[Array, "batch source"], *, length: int, ids: int, mesh: Mesh
) -> Int[Array, "batch length"]:
    """Returns at most `length` tokens for each input, among the first `ids` of the vocabulary."""
    decoder = cached_decoder(model, inputs, length=length, ids=ids, mesh=mesh)
    return generate(decoder, jax.random.key(0), Sampling())  # a greedy choice ignores the key
