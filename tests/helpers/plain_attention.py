"""Attention with T5's bias written plainly, and small cases of it for the kernels' tests."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.layers.position_bias import BUCKETS, bucket


class Case(NamedTuple):
    """Sizes and masks of one attention; `together` are the arrays that are differentiated."""

    queries: int
    keys: int
    heads: int = 3
    head: int = 8
    bidirectional: bool = True
    causal: bool = False
    biased: bool = True
    padded: bool = False
    packed: bool = False
    dtype: Any = jnp.float32

    @property
    def options(self) -> dict[str, Any]:
        """Arguments by name."""
        return {
            "heads": self.heads,
            "bidirectional": self.bidirectional,
            "causal": self.causal,
        }

    def arrays(self, rows: int = 2) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Returns what is differentiated, what is not, and the gradient of the output."""
        generator = np.random.default_rng(self.queries)
        width = self.heads * self.head

        def drawn(*shape: int, scale: float = 1.0):
            return jnp.asarray(scale * generator.normal(size=shape), self.dtype)

        differentiated = {
            "query": drawn(rows, self.queries, width, scale=self.head**-0.5),
            "keys": drawn(rows, self.keys, width),
            "values": drawn(rows, self.keys, width),
        }
        gradient = drawn(rows, self.queries, width)
        if self.biased:
            table = generator.normal(size=(BUCKETS, self.heads))
            differentiated["table"] = jnp.asarray(table, jnp.float32)
        masks = {}
        if self.padded:
            real = (generator.random((rows, self.keys)) < 0.7) & (np.arange(rows) > 0)[:, None]
            masks["key_mask"] = jnp.asarray(real)
        if self.packed:
            for name, length in (("query_example", self.queries), ("key_example", self.keys)):
                numbers = np.sort(generator.integers(0, 3, (rows, length)))
                masks[name] = jnp.asarray(numbers, jnp.int32)
        return differentiated, masks, gradient


def plain_attention(
    query,
    keys,
    values,
    table=None,
    key_mask=None,
    query_example=None,
    key_example=None,
    *,
    heads,
    bidirectional,
    causal,
):
    """Returns the same as `fused_attention`, with all scores in memory."""
    (rows, length, width), source = query.shape, keys.shape[1]
    query, keys, values = (
        x.reshape(rows, -1, heads, width // heads) for x in (query, keys, values)
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, keys, preferred_element_type=jnp.float32)
    offsets = np.arange(source)[None, :] - np.arange(length)[:, None]
    if table is not None:
        scores += jnp.moveaxis(table[bucket(offsets, bidirectional)], -1, 0)
    mask = np.ones((rows, length, source), bool)
    if causal:
        mask &= offsets <= 0
    if key_mask is not None:
        mask &= key_mask[:, None, :]
    if query_example is not None:
        mask &= query_example[:, :, None] == key_example[:, None, :]
    scores = jnp.where(mask[:, None], scores, -1e9)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(rows, length, width)
