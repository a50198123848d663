"""Multi-head attention as in T5: no biases, no 1/sqrt(head), scores and softmax in float32.

The missing scale is folded into the initialization of the query, whose variance is smaller by
`head`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Key

from model.config import ModelConfig
from model.layers.initialization import kernel
from model.precision import summed_in_float32
from model.products import product

MASKED = -1e9  # finite: a row of padding alone gives a uniform softmax instead of NaN
INTO_HEADS = "batch length embed, embed heads head -> batch heads length head"
OUT_OF_HEADS = "batch heads length head, heads head embed -> batch length embed"


class KeysValues(NamedTuple):
    """Projected keys and values, which generation caches."""

    keys: Float[Array, "batch heads keys head"]
    values: Float[Array, "batch heads keys head"]


class Attention(eqx.Module):
    """Self-attention, or cross-attention if `source` is the encoder's output."""

    query: Float[Array, "embed heads head"]
    key: Float[Array, "embed heads head"]
    value: Float[Array, "embed heads head"]
    output: Float[Array, "heads head embed"]

    @staticmethod
    def init(config: ModelConfig, *, key: Key[Array, ""]) -> "Attention":
        """Draws the four projections."""
        embed, heads, head = config.embed, config.heads, config.head
        scale = config.initialization_scale
        keys = jax.random.split(key, 4)
        inward = (embed, heads, head)
        return Attention(
            query=kernel(inward, fan_in=embed, scale=scale / head, key=keys[0]),
            key=kernel(inward, fan_in=embed, scale=scale, key=keys[1]),
            value=kernel(inward, fan_in=embed, scale=scale, key=keys[2]),
            output=kernel((heads, head, embed), fan_in=heads * head, scale=scale, key=keys[3]),
        )

    def __call__(
        self,
        x: Float[Array, "batch queries embed"],
        source: Float[Array, "batch keys embed"],
        bias: Float[Array, "#heads #queries #keys"],
        mask: Bool[Array, "#batch #queries keys"],
        mesh: Mesh,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to the positions of `source` that `mask` allows."""
        return self.attend(x, self.keys_values(source, mesh), bias, mask, mesh)

    def keys_values(self, source: Float[Array, "batch keys embed"], mesh: Mesh) -> KeysValues:
        """Projects the keys and values of `source`."""
        return KeysValues(
            keys=product(INTO_HEADS, source, self.key, mesh),
            values=product(INTO_HEADS, source, self.value, mesh),
        )

    def attend(
        self,
        x: Float[Array, "batch queries embed"],
        source: KeysValues,
        bias: Float[Array, "#heads #queries #keys"],
        mask: Bool[Array, "#batch #queries keys"],
        mesh: Mesh,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to projected keys and values."""
        query = product(INTO_HEADS, x, self.query, mesh)
        scores = summed_in_float32("bhqd,bhkd->bhqk", query, source.keys)
        scores = jnp.where(mask[:, None], scores + bias[None].astype(jnp.float32), MASKED)
        weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, source.values)
        return product(OUT_OF_HEADS, mixed, self.output, mesh)
