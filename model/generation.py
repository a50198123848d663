"""Decoding token by token, greedily or by sampling, with a cache of keys and values.

A step runs the decoder on one position, which attends to the cached keys and values of earlier
positions; those of the encoder's output are projected once. The result equals the whole decoder run
over all tokens so far (a test compares tokens), because dispatch is dropless here
(`never_dropping.py`).

Sampling is as in other libraries: logits over temperature, then the `top_k` most likely tokens,
then of those the smallest set of at least `top_p` probability.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import PADDING, Batch
from model.config import ConfigurationError
from model.layers.attention import KeysValues
from model.never_dropping import never_dropping
from model.stack import Call, Layer, Stack
from model.transformer import Transformer

EOS = 1  # as in T5's vocabularies


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: divisor of the logits; 0 takes the most likely token (greedy), 1 samples from
            the model's distribution.
        top_k: number of most likely tokens to sample from; 0 means all.
        top_p: probability that the smallest set of most likely tokens to sample from must reach.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ConfigurationError(
                f"Sampling was {self}; temperature must be 0 or more, top_k 0 (all) or more, and "
                "top_p above 0 and at most 1."
            )
        if self.temperature == 0 and (self.top_k or self.top_p < 1):
            raise ConfigurationError(
                f"Sampling was {self}; top_k and top_p choose among sampled tokens: set a "
                "temperature above 0, for example 1."
            )


class LayerCache(NamedTuple):
    """Keys and values of one layer; a whole stack has a leading dimension of blocks."""

    self_attention: KeysValues
    cross_attention: KeysValues


class Decoding(NamedTuple):
    """The state of the decoding loop.

    Attributes:
        position: position of the next token.
        tokens: ids so far, then padding.
        finished: True for rows that have EOS.
        cache: keys and values so far.
    """

    position: Int[Array, ""]
    tokens: Int[Array, "batch length"]
    finished: Bool[Array, " batch"]
    cache: tuple[LayerCache, ...]


def generate(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    key: Key[Array, ""],
    *,
    length: int,
    sampling: Sampling,
    ids: int | Int[Array, ""],
    mesh: Mesh,
) -> Int[Array, "batch length"]:
    """Returns targets for a batch of inputs.

    Args:
        model: the network.
        inputs: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        key: key of sampling; greedy decoding ignores it.
        length: largest number of tokens per row, EOS included.
        sampling: how the next token is chosen.
        ids: size of the vocabulary; later rows of the embedding are never chosen.
        mesh: the devices.

    Returns:
        Ids up to EOS, then padding.
    """
    model = never_dropping(model, inputs.shape[1])
    call = Call(mesh)
    rows = len(inputs)
    batch = Batch(inputs, jnp.zeros((rows, length), jnp.int32), jnp.zeros(rows, jnp.int32))
    source = model.encode(batch, call).x
    bias = model.decoder.position_bias(length, length)

    def unfinished(state: Decoding) -> Bool[Array, ""]:
        return (state.position < length) & ~jnp.all(state.finished)

    def step(state: Decoding) -> Decoding:
        logits, cache = _step(model, state, bias, batch.is_source, call)
        logits = jnp.where(jnp.arange(logits.shape[-1]) < ids, logits, -jnp.inf)
        token = choose(logits, sampling, jax.random.fold_in(key, state.position))
        token = jnp.where(state.finished, PADDING, token)
        return Decoding(
            position=state.position + 1,
            tokens=state.tokens.at[:, state.position].set(token),
            finished=state.finished | (token == EOS),
            cache=cache,
        )

    start = Decoding(
        position=jnp.zeros((), jnp.int32),
        tokens=batch.targets,
        finished=~jnp.any(batch.is_source, axis=1),
        cache=_empty_cache(model.decoder, source, length, mesh),
    )
    return jax.lax.while_loop(unfinished, step, start).tokens


def choose(
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
    # The first is always kept; others as long as those before them have not reached top_p.
    kept = (before < sampling.top_p) & jnp.isfinite(ordered)
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= least, logits, -jnp.inf)).astype(
        jnp.int32
    )


def _empty_cache(
    decoder: Stack, source: Float[Array, "batch source embed"], length: int, mesh: Mesh
) -> tuple[LayerCache, ...]:
    """Returns each layer's cache: the projected source, and zeros for `length` positions."""

    def one(layer: Layer) -> LayerCache:
        assert layer.cross_attention is not None  # a decoder's layer
        projected = layer.cross_attention.keys_values(source, mesh)
        zeros = jnp.zeros((len(source), length, projected.keys.shape[-1]), source.dtype)
        return LayerCache(KeysValues(zeros, zeros), projected)

    return tuple(eqx.filter_vmap(one)(layer) for layer in decoder.blocks)


def _step(
    model: Transformer,
    state: Decoding,
    bias: Float[Array, "heads length length"],
    is_source: Bool[Array, "batch source"],
    call: Call,
) -> tuple[Float[Array, "batch vocabulary"], tuple[LayerCache, ...]]:
    """Runs the decoder on one position; returns its logits and the updated cache."""
    decoder, length = model.decoder, state.tokens.shape[1]
    before = state.tokens[:, jnp.maximum(state.position - 1, 0)]
    token = jnp.where(state.position == 0, PADDING, before)
    here = jax.lax.dynamic_slice_in_dim(bias, state.position, 1, axis=1)
    past = (jnp.arange(length) <= state.position)[None, None, :]
    is_token = ~state.finished[:, None]
    weights, static = eqx.partition(decoder.blocks, eqx.is_array)

    def block(x, scanned):
        weights, caches, number = scanned
        after = []
        for layer, cache in zip(eqx.combine(weights, static), caches, strict=True):
            y = layer.self_norm(x)
            new = layer.self_attention.keys_values(y, call.mesh)
            own = _put(cache.self_attention, new, state.position)
            x = x + layer.self_attention.attend(y, own, here, past, call.mesh)
            y = layer.cross_norm(x)
            x = x + layer.cross_attention.attend(
                y, cache.cross_attention, None, is_source[:, None, :], call.mesh
            )
            x = x + decoder.feed_forward(layer, x, is_token, call, number)[0]
            after.append(LayerCache(own, cache.cross_attention))
        return x, tuple(after)

    numbers = jnp.arange(model.config.blocks)
    x = model.embed(token[:, None], call)
    x, cache = jax.lax.scan(block, x, (weights, state.cache, numbers))
    return model.head(decoder.final_norm(x))[:, 0], cache


def _put(cache: KeysValues, new: KeysValues, position: Int[Array, ""]) -> KeysValues:
    return jax.tree.map(
        lambda old, one: jax.lax.dynamic_update_slice_in_dim(old, one, position, axis=1), cache, new
    )
