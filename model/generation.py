"""Writing targets token by token, greedily or by sampling, with a cache of keys and values.

A step runs the decoder on one position, which attends to what earlier positions left in the cache;
keys and values of the encoder's output are projected once. The result is that of the whole decoder
run over what has been written so far, in a test to the token, because nothing is dropped here: a
text must not depend on what else is in the batch, and capacity is a bargain of training. (Cached
decoding in Transformers never drops either.)

Sampling is what users of other libraries expect, in their order: logits over temperature, then the
`top_k` most likely, then of those the smallest set of at least `top_p` probability.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import PADDING, Batch
from model.config import ConfigurationError
from model.layers.attention import KeysValues
from model.stack import Call, Layer, Stack
from model.transformer import Transformer

EOS = 1  # as in T5's vocabularies


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the most likely (greedy); 1 samples from the model's distribution.
        top_k: sample among this many most likely tokens; 0 means all.
        top_p: sample among the fewest most likely tokens whose probability reaches this.
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
    """What one layer attends to; with one leading dimension more (blocks) over a whole stack."""

    own: KeysValues
    source: KeysValues


class Writing(NamedTuple):
    """The state of the loop.

    Attributes:
        position: next to be written.
        written: ids so far, padding after.
        finished: rows that have written EOS.
        cache: keys and values so far.
    """

    position: Int[Array, ""]
    written: Int[Array, "batch length"]
    finished: Bool[Array, " batch"]
    cache: tuple[LayerCache, ...]


def generate(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    key: Key[Array, ""],
    *,
    length: int,
    sampling: Sampling,
    ids: int,
    mesh: Mesh,
) -> Int[Array, "batch length"]:
    """Writes targets for a batch of inputs.

    Args:
        model: the network.
        inputs: ids with EOS, right-padded; as many rows as the mesh's batch axes divide.
        key: of sampling; greedy decoding ignores it.
        length: most tokens to write, EOS included.
        sampling: how.
        ids: of the vocabulary; rows of the embedding beyond them are never written.
        mesh: the devices.

    Returns:
        Ids up to EOS, then padding.
    """
    model = never_dropping(model, inputs.shape[1])
    call = Call(mesh)
    rows = len(inputs)
    batch = Batch(inputs, jnp.zeros((rows, length), jnp.int32), jnp.zeros(rows, jnp.int32))
    source = model.encode(batch, call).x
    bias = model.decoder.position_bias(length)

    def unfinished(state: Writing) -> Bool[Array, ""]:
        return (state.position < length) & ~jnp.all(state.finished)

    def write(state: Writing) -> Writing:
        logits, cache = _step(model, state, bias, batch.is_source, call)
        logits = jnp.where(jnp.arange(logits.shape[-1]) < ids, logits, -jnp.inf)
        token = choose(logits, sampling, jax.random.fold_in(key, state.position))
        token = jnp.where(state.finished, PADDING, token)
        return Writing(
            position=state.position + 1,
            written=state.written.at[:, state.position].set(token),
            finished=state.finished | (token == EOS),
            cache=cache,
        )

    start = Writing(
        position=jnp.zeros((), jnp.int32),
        written=batch.targets,
        finished=~jnp.any(batch.is_source, axis=1),
        cache=_empty_cache(model.decoder, source, length),
    )
    return jax.lax.while_loop(unfinished, write, start).written


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
    # The first is always kept; one is kept as long as those before it have not reached top_p.
    kept = (before < sampling.top_p) & jnp.isfinite(ordered)
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= least, logits, -jnp.inf)).astype(
        jnp.int32
    )


def never_dropping(model: Transformer, source: int) -> Transformer:
    """Returns the network with dropless dispatch; a sequence, or one target, is a group."""
    switch = model.config.switch
    if switch is None:
        return model
    switch = replace(
        switch,
        encoder_group_tokens=source,
        decoder_group_tokens=1,
        dispatch="dropless",
    )
    return replace(
        model,
        encoder=replace(model.encoder, switch=switch),
        decoder=replace(model.decoder, switch=switch),
        config=replace(model.config, switch=switch),
    )


def _empty_cache(
    decoder: Stack, source: Float[Array, "batch source embed"], length: int
) -> tuple[LayerCache, ...]:
    """Returns each layer's cache: the source projected, and room for `length` positions."""

    def one(layer: Layer) -> LayerCache:
        assert layer.cross_attention is not None  # a decoder's
        projected = layer.cross_attention.keys_values(source)
        room = jnp.zeros((*projected.keys.shape[:2], length, projected.keys.shape[3]), source.dtype)
        return LayerCache(KeysValues(room, room), projected)

    return tuple(eqx.filter_vmap(one)(layer) for layer in decoder.blocks)


def _step(
    model: Transformer,
    state: Writing,
    bias: Float[Array, "heads length length"],
    is_source: Bool[Array, "batch source"],
    call: Call,
) -> tuple[Float[Array, "batch vocabulary"], tuple[LayerCache, ...]]:
    """Runs the decoder on one position: the logits of the token there, and the cache after it."""
    decoder, length = model.decoder, state.written.shape[1]
    before = state.written[:, jnp.maximum(state.position - 1, 0)]
    token = jnp.where(state.position == 0, PADDING, before)
    here = jax.lax.dynamic_slice_in_dim(bias, state.position, 1, axis=1)
    past = (jnp.arange(length) <= state.position)[None, None, :]
    is_token = ~state.finished[:, None]
    no_bias = jnp.zeros((1, 1, 1))
    weights, rest = eqx.partition(decoder.blocks, eqx.is_array)

    def block(x, scanned):
        weights, caches, number = scanned
        after = []
        for layer, cache in zip(eqx.combine(weights, rest), caches, strict=True):
            y = layer.self_norm(x)
            own = _put(cache.own, layer.self_attention.keys_values(y), state.position)
            x = x + layer.self_attention.attend(y, own, here, past)
            y = layer.cross_norm(x)
            x = x + layer.cross_attention.attend(y, cache.source, no_bias, is_source[:, None, :])
            x = x + decoder.feed_forward(layer, x, is_token, call, number)[0]
            after.append(LayerCache(own, cache.source))
        return x, tuple(after)

    numbers = jnp.arange(model.config.blocks)
    x = model.embed(token[:, None], call)
    x, cache = jax.lax.scan(block, x, (weights, state.cache, numbers))
    return model.head(decoder.final_norm(x))[:, 0], cache


def _put(cache: KeysValues, new: KeysValues, position: Int[Array, ""]) -> KeysValues:
    return KeysValues(
        *(
            jax.lax.dynamic_update_slice_in_dim(room, one, position, axis=2)
            for room, one in zip(cache, new, strict=True)
        )
    )
