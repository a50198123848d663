"""Decoding token by token, greedily or by sampling, by a network without dropped tokens.

Capacity serves training: which tokens it drops depends on the other tokens of a routing group. What
is generated or scored for a user uses dropless dispatch. (Cached decoding in Transformers drops
nothing either.)

Keys and values of earlier positions are cached. Those of the encoder's output are projected once
per input, also where several hypotheses continue it: their positions query the same keys side by
side. The result equals the whole decoder run over all tokens so far (tests compare tokens), because
dispatch is dropless.

Sampling is as in other libraries: logits over temperature, then the `top_k` most likely tokens,
then of those the smallest set of at least `top_p` probability.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import Batch, Call
from model.config import EOS, PADDING, Sampling
from model.layers.attention import KeysValues
from model.transformer import Layer, Transformer


def never_dropping(model: Transformer, source: int, target: int = 1) -> Transformer:
    """Returns the network with dropless dispatch.

    Args:
        model: the network; a dense one is returned as it is.
        source: tokens per input sequence, which is one routing group of the encoder.
        target: tokens per call of the decoder and sequence: 1 in decoding step by step.
    """
    switch = model.config.switch
    if switch is None:
        return model
    switch = replace(
        switch,
        encoder_group_tokens=source,
        decoder_group_tokens=target,
        dispatch="dropless",
    )
    return replace(
        model,
        encoder=replace(model.encoder, switch=switch),
        decoder=replace(model.decoder, switch=switch),
        config=replace(model.config, switch=switch),
    )


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

        def layer_cache(layer: Layer) -> LayerCache:
            assert layer.cross_attention is not None  # a decoder's layer
            projected = layer.cross_attention.keys_values(self.source, self.call.mesh)
            rows, width = self.rows * hypotheses, projected.keys.shape[-1]
            zeros = jnp.zeros((rows, self.length, width), self.source.dtype)
            return LayerCache(KeysValues(zeros, zeros), projected)

        return tuple(eqx.filter_vmap(layer_cache)(layer) for layer in self.model.decoder.blocks)

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
        bias = jax.lax.dynamic_slice_in_dim(self.bias, first, self.length, axis=2)
        is_past = (jnp.arange(self.length) <= position)[None, None, :]
        weights, static = eqx.partition(decoder.blocks, eqx.is_array)

        def run_block(x, block):
            weights, caches, number = block
            new_caches = []
            for layer, cache in zip(eqx.combine(weights, static), caches, strict=True):
                y = layer.self_norm(x)
                new = layer.self_attention.keys_values(y, call.mesh)
                own = _write_at(position, cache.own, new)
                x = x + layer.self_attention.attend(y, own, bias, is_past, call.mesh)
                x = x + self._attend_to_source(layer, x, cache.source)
                x = x + decoder.feed_forward(layer, x, is_token[:, None], call, number)[0]
                new_caches.append(LayerCache(own, cache.source))
            return x, tuple(new_caches)

        numbers = jnp.arange(model.config.blocks)
        x = model.embed(before[:, None], call)
        x, cache = jax.lax.scan(run_block, x, (weights, cache, numbers))
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


def _write_at(position: Int[Array, ""], cache: KeysValues, new: KeysValues) -> KeysValues:
    write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=position, axis=1)
    return jax.tree.map(write, cache, new)


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


class Decoding(NamedTuple):
    """The state of the decoding loop.

    Attributes:
        position: position of the next token.
        tokens: ids so far, then padding.
        last: the last id.
        finished: True for rows that have EOS.
        cache: keys and values so far.
    """

    position: Int[Array, ""]
    tokens: Int[Array, "batch length"]
    last: Int[Array, " batch"]
    finished: Bool[Array, " batch"]
    cache: Cache


def generate(
    decoder: CachedDecoder, key: Key[Array, ""], sampling: Sampling
) -> Int[Array, "batch length"]:
    """Returns targets for a batch of inputs.

    Args:
        decoder: the decoder, which has read the inputs.
        key: key of sampling; greedy decoding ignores it.
        sampling: how the next token is chosen.

    Returns:
        Ids up to EOS, then padding.
    """

    def is_unfinished(state: Decoding) -> Bool[Array, ""]:
        return (state.position < decoder.length) & ~jnp.all(state.finished)

    def step(state: Decoding) -> Decoding:
        logits, cache = decoder.step(state.cache, state.position, state.last, ~state.finished)
        token = choose_tokens(logits, sampling, jax.random.fold_in(key, state.position))
        token = jnp.where(state.finished, PADDING, token)
        return Decoding(
            position=state.position + 1,
            tokens=state.tokens.at[:, state.position].set(token),
            last=token,
            finished=state.finished | (token == EOS),
            cache=cache,
        )

    start = Decoding(
        position=jnp.zeros((), jnp.int32),
        tokens=jnp.full((decoder.rows, decoder.length), PADDING),
        last=jnp.full(decoder.rows, PADDING),
        finished=~jnp.any(decoder.is_source, axis=1),
        cache=decoder.empty_cache(),
    )
    return jax.lax.while_loop(is_unfinished, step, start).tokens


def choose_tokens(
    logits: Float[Array, "batch vocabulary"], sampling: Sampling, key: Key[Array, ""]
) -> Int[Array, " batch"]:
    """Returns the next token of each row."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits / sampling.temperature
    ordered = jnp.sort(logits, axis=-1, descending=True)
    if sampling.top_k:
        ordered = ordered.at[:, sampling.top_k :].set(-jnp.inf)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    # The first is always kept; others as long as those before them have not reached top_p. The sum
    # of 250,000 float32 may reach 1 early, so all are kept at 1.
    kept = jnp.isfinite(ordered) & ((before < sampling.top_p) | (sampling.top_p == 1))
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= least, logits, -jnp.inf)).astype(
        jnp.int32
    )


def write_greedily(
    model: Transformer, inputs: Int[Array, "batch source"], *, length: int, ids: int, mesh: Mesh
) -> Int[Array, "batch length"]:
    """Returns at most `length` tokens for each input, among the first `ids` of the vocabulary."""
    decoder = cached_decoder(model, inputs, length=length, ids=ids, mesh=mesh)
    return generate(decoder, jax.random.key(0), Sampling())  # a greedy choice ignores the key
