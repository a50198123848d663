"""The decoder on one position, which attends to cached keys and values of earlier positions.

Those of the encoder's output are projected once per input, also where several hypotheses continue
it: their positions query the same keys side by side. The result equals the whole decoder run over
all tokens so far (tests compare tokens), because dispatch is dropless here (`never_dropping.py`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from model.batch import Batch
from model.call import Call
from model.decoding.never_dropping import never_dropping
from model.layers.attention import KeysValues
from model.stack import Layer
from model.transformer import Transformer

EOS = 1  # as in T5's vocabularies


class LayerCache(NamedTuple):
    """Keys and values of one layer; a whole stack has a leading dimension of blocks.

    Attributes:
        own: keys and values of the tokens so far, a row per hypothesis.
        source: keys and values of the input, a row per input.
    """

    own: KeysValues
    source: KeysValues


Cache = tuple[LayerCache, ...]


class CachedDecoder(NamedTuple):
    """What stays the same while targets are written for a batch of inputs.

    Attributes:
        model: the network, which drops no token.
        source: the encoder's output.
        is_source: True for real input tokens.
        bias: position biases of the decoder's self-attention, of offsets from 1 - length to
            length - 1: a token needs a part of this row, not a matrix of all pairs.
        ids: size of the vocabulary; later rows of the embedding have no logits.
        call: the devices.
    """

    model: Transformer
    source: Float[Array, "batch source embed"]
    is_source: Bool[Array, "batch source"]
    bias: Float[Array, "heads 1 offsets"]
    ids: int | Int[Array, ""]
    call: Call

    @property
    def rows(self) -> int:
        """Number of inputs."""
        return len(self.is_source)

    @property
    def length(self) -> int:
        """Largest number of tokens per target."""
        return (self.bias.shape[-1] + 1) // 2

    def empty_cache(self, hypotheses: int = 1) -> Cache:
        """Returns each layer's cache before the first token.

        Args:
            hypotheses: targets written per input, in consecutive rows.
        """

        def one(layer: Layer) -> LayerCache:
            assert layer.cross_attention is not None  # a decoder's layer
            projected = layer.cross_attention.keys_values(self.source, self.call.mesh)
            rows, width = self.rows * hypotheses, projected.keys.shape[-1]
            zeros = jnp.zeros((rows, self.length, width), self.source.dtype)
            return LayerCache(KeysValues(zeros, zeros), projected)

        return tuple(eqx.filter_vmap(one)(layer) for layer in self.model.decoder.blocks)

    def step(
        self,
        cache: Cache,
        position: Int[Array, ""],
        before: Int[Array, " rows"],
        is_token: Bool[Array, " rows"],
    ) -> tuple[Float[Array, "rows vocabulary"], Cache]:
        """Runs the decoder on one position.

        Args:
            cache: keys and values of earlier positions.
            position: position of the next token.
            before: the token before it, padding at position 0.
            is_token: False for rows that are finished.

        Returns:
            Logits of the next token, and the cache with this position.
        """
        model, call = self.model, self.call
        decoder = model.decoder
        first = self.length - 1 - position  # the offset of key 0 is -position
        here = jax.lax.dynamic_slice_in_dim(self.bias, first, self.length, axis=2)
        past = (jnp.arange(self.length) <= position)[None, None, :]
        weights, static = eqx.partition(decoder.blocks, eqx.is_array)

        def block(x, scanned):
            weights, caches, number = scanned
            after = []
            for layer, cache in zip(eqx.combine(weights, static), caches, strict=True):
                y = layer.self_norm(x)
                new = layer.self_attention.keys_values(y, call.mesh)
                own = _put(cache.own, new, position)
                x = x + layer.self_attention.attend(y, own, here, past, call.mesh)
                x = x + self._attend_to_source(layer, x, cache.source)
                x = x + decoder.feed_forward(layer, x, is_token[:, None], call, number)[0]
                after.append(LayerCache(own, cache.source))
            return x, tuple(after)

        numbers = jnp.arange(model.config.blocks)
        x = model.embed(before[:, None], call)
        x, cache = jax.lax.scan(block, x, (weights, cache, numbers))
        logits = model.head(decoder.final_norm(x))[:, 0]
        return jnp.where(jnp.arange(logits.shape[-1]) < self.ids, logits, -jnp.inf), cache

    def _attend_to_source(self, layer: Layer, x: Array, source: KeysValues) -> Array:
        """Attends from all hypotheses of an input side by side."""
        assert layer.cross_attention is not None  # a decoder's layer
        assert layer.cross_norm is not None
        y = layer.cross_norm(x).reshape(self.rows, -1, x.shape[-1])
        mask = self.is_source[:, None, :]
        y = layer.cross_attention.attend(y, source, None, mask, self.call.mesh)
        return y.reshape(x.shape)


def cached_decoder(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    *,
    length: int,
    ids: int | Int[Array, ""],
    mesh: Mesh,
) -> CachedDecoder:
    """Returns a decoder that has read inputs: the encoder is run here.

    Args:
        model: the network.
        inputs: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        length: largest number of tokens per target, EOS included.
        ids: size of the vocabulary; later rows of the embedding are never chosen.
        mesh: the devices.
    """
    model, call = never_dropping(model, inputs.shape[1]), Call(mesh)
    nothing = jnp.zeros((len(inputs), 0), jnp.int32)
    batch = Batch(inputs, nothing, jnp.zeros(len(inputs), jnp.int32))
    return CachedDecoder(
        model=model,
        source=model.encode(batch, call).x,
        is_source=batch.is_source,
        bias=model.decoder.position_bias.at(np.arange(1 - length, length)[None]),
        ids=ids,
        call=call,
    )


def _put(cache: KeysValues, new: KeysValues, position: Int[Array, ""]) -> KeysValues:
    return jax.tree.map(
        lambda old, one: jax.lax.dynamic_update_slice_in_dim(old, one, position, axis=1), cache, new
    )
