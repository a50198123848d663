"""Multi-head attention as in T5: no biases, no 1/sqrt(head), scores and softmax in float32.

The missing scale is folded into the initialization of the query, whose variance is smaller by
`head`. Between the projections all heads lie side by side, in a dimension `width`. What is done
there is `plain_attention.py` on CPUs and a fused kernel on TPUs and GPUs (`fused_attention.py`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Key

from model.batch import Visible
from model.config import ModelConfig
from model.layers.dropout import NO_DROPOUT, Dropout
from model.layers.fused_attention import fused, has_kernel
from model.layers.initialization import kernel
from model.layers.plain_attention import plain_attention
from model.layers.position_bias import PositionBias
from model.layers.products import product
from model.remat import ATTENDED, MULTIPLIED

INTO_HEADS = "batch length embed, embed width -> batch length width"
OUT_OF_HEADS = "batch length width, width embed -> batch length embed"


class KeysValues(NamedTuple):
    """Projected keys and values, which generation caches."""

    keys: Float[Array, "batch keys width"]
    values: Float[Array, "batch keys width"]


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

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.query.shape[-2]

    def __call__(
        self,
        x: Float[Array, "batch queries embed"],
        source: Float[Array, "batch keys embed"],
        bias: PositionBias | None,
        visible: Visible,
        mesh: Mesh,
        dropout: Dropout = NO_DROPOUT,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to the positions of `source` that are visible to it."""
        into_heads = self._into_heads(self.query, x, mesh)
        keys, values = self.keys_values(source, mesh)
        values = dropout.of_values(values, self.heads)
        if has_kernel(into_heads, keys, self.heads, mesh):
            mixed = fused(into_heads, keys, values, bias, visible, self.heads, mesh)
        else:
            lengths = x.shape[1], source.shape[1]
            biases = None if bias is None else bias(*lengths)
            mask = visible.mask(*lengths)
            mixed = plain_attention(into_heads, keys, values, biases, mask, self.heads)
            mixed = checkpoint_name(mixed, ATTENDED)
        return self._out_of_heads(mixed, mesh)

    def keys_values(self, source: Float[Array, "batch keys embed"], mesh: Mesh) -> KeysValues:
        """Projects the keys and values of `source`."""
        return KeysValues(
            keys=self._into_heads(self.key, source, mesh),
            values=self._into_heads(self.value, source, mesh),
        )

    def attend(
        self,
        x: Float[Array, "batch queries embed"],
        source: KeysValues,
        bias: Float[Array, "heads #queries keys"] | None,
        mask: Bool[Array, "#batch #queries keys"],
        mesh: Mesh,
    ) -> Float[Array, "batch queries embed"]:
        """Attends from `x` to cached keys and values."""
        query = self._into_heads(self.query, x, mesh)
        return self._out_of_heads(plain_attention(query, *source, bias, mask, self.heads), mesh)

    def _into_heads(self, weight, x, mesh: Mesh):
        flat = weight.reshape(weight.shape[0], -1)
        return checkpoint_name(product(INTO_HEADS, x, flat, mesh), ATTENDED)

    def _out_of_heads(self, mixed, mesh: Mesh):
        flat = self.output.reshape(-1, self.output.shape[-1])
        return checkpoint_name(product(OUT_OF_HEADS, mixed, flat, mesh), MULTIPLIED)
