"""Decoding token by token, greedily or by sampling (`cached_decoding.py`).

Sampling is as in other libraries: logits over temperature, then the `top_k` most likely tokens,
then of those the smallest set of at least `top_p` probability.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import PADDING
from model.configuration_checks import ConfigurationError
from model.decoding.cached_decoding import EOS, Cache, CachedDecoder

COLDEST = 0.001  # temperature; float32 holds logits of up to 10³⁵ divided by it


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
        is_greedy, is_sampled = self.temperature == 0, COLDEST <= self.temperature < math.inf
        if not (is_greedy or is_sampled) or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ConfigurationError(
                f"Sampling was {self}; temperature must be 0 or at least {COLDEST}, top_k 0 (all) "
                "or more, and top_p above 0 and at most 1."
            )
        if self.temperature == 0 and (self.top_k or self.top_p < 1):
            raise ConfigurationError(
                f"Sampling was {self}; top_k and top_p choose among sampled tokens: set a "
                "temperature above 0, for example 1."
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

    def unfinished(state: Decoding) -> Bool[Array, ""]:
        return (state.position < decoder.length) & ~jnp.all(state.finished)

    def step(state: Decoding) -> Decoding:
        logits, cache = decoder.step(state.cache, state.position, state.last, ~state.finished)
        token = choose(logits, sampling, jax.random.fold_in(key, state.position))
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
    # The first is always kept; others as long as those before them have not reached top_p. The sum
    # of 250,000 float32 may reach 1 early, so all are kept at 1.
    kept = jnp.isfinite(ordered) & ((before < sampling.top_p) | (sampling.top_p == 1))
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= least, logits, -jnp.inf)).astype(
        jnp.int32
    )
