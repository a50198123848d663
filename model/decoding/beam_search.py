"""Search among targets: beam search, and the nats of given targets, by which labels are chosen.

**Beam search** continues several hypotheses at once. The score of a target is its log probability
over a power of its length, so that short targets do not win by their length alone:

    score = log probability / ((offset + length) / (offset + 1)) ^ alpha

`length` counts its tokens, EOS included. With offset 5 this is the penalty of Wu et al. 2016
(equation 14), which T5 and T5X use with alpha 0.6; with offset 0 it is Transformers'
`length_penalty`.

The search is Transformers' with `early_stopping=False` (`_beam_search` in version 5.24). Each step
ranks the 2 * beams most likely continuations, and the best ones without EOS are continued. One in
the first half is finished if it ends with EOS or has the largest length. An input is done once each
of its finished targets scores at least as high as the best running hypothesis would if it ended at
this position. One beam is greedy decoding.

**Given targets** are the labels of a classification. The encoder runs once per input, and the
decoder once for all labels: they lie side by side in one row of targets, as packed examples do, and
each sees the whole input. The keys and values of the input are thus projected once, however many
labels there are. Dispatch is dropless, so a score does not depend on the rest of the batch.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.batch import Batch, Call
from model.config import (
    EOS,
    PADDING,
    ConfigurationError,
    require_at_least_one,
    require_not_negative,
)
from model.decoding.generation import Cache, CachedDecoder, never_dropping
from model.loss.cross_entropy import Computation, Labels, LogitFactors, cross_entropy
from model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Beams:
    """How widely is searched, and how lengths are compared; the defaults are T5's.

    Attributes:
        number: number of hypotheses per input that are continued at once.
        alpha: exponent of the length; 0 compares log probabilities, more prefers longer targets.
        offset: tokens added to every length; 5 in T5, 0 in Transformers.
    """

    number: int = 4
    alpha: float = 0.6
    offset: float = 5.0

    def __post_init__(self):
        require_at_least_one(self, "number")
        require_not_negative(self, "offset")
        if not math.isfinite(self.alpha):
            raise ConfigurationError(f"alpha was {self.alpha}; it must be a finite number.")

    def score(
        self, log_probability: Float[Array, "*hypotheses"], length: Int[Array, ""]
    ) -> Float[Array, "*hypotheses"]:
        """Returns the scores of hypotheses of `length` tokens."""
        return log_probability / ((self.offset + length) / (self.offset + 1)) ** self.alpha


class Hypotheses(NamedTuple):
    """Targets, the best first.

    Attributes:
        tokens: ids, then padding.
        value: log probability or score; minus infinity where there is no target.
    """

    tokens: Int[Array, "batch hypotheses length"]
    value: Float[Array, "batch hypotheses"]

    def best(self, number: int) -> tuple["Hypotheses", Int[Array, "batch {number}"]]:
        """Returns the hypotheses with the largest values, and their numbers."""
        value, which = jax.lax.top_k(self.value, number)
        return Hypotheses(jnp.take_along_axis(self.tokens, which[..., None], axis=1), value), which


class Search(NamedTuple):
    """The state of the search.

    Attributes:
        position: position of the next token.
        running: hypotheses to continue, with log probabilities.
        finished: the best targets so far, with scores.
        is_open: True for inputs whose finished targets may still change.
        cache: keys and values of the running hypotheses.
    """

    position: Int[Array, ""]
    running: Hypotheses
    finished: Hypotheses
    is_open: Bool[Array, " batch"]
    cache: Cache


def beam_search(decoder: CachedDecoder, beams: Beams) -> Int[Array, "batch length"]:
    """Returns the target with the best score for each input.

    Args:
        decoder: the decoder, which has read the inputs.
        beams: width of the search and length penalty.

    Returns:
        Ids up to EOS, then padding; padding alone for a row of padding.
    """
    number = beams.number

    def is_unfinished(state: Search) -> Bool[Array, ""]:
        return (state.position < decoder.length) & jnp.any(state.is_open)

    def step(state: Search) -> Search:
        # At position 0 this reads the last position, which is padding as well.
        before = state.running.tokens[:, :, state.position - 1].reshape(-1)
        is_token = jnp.repeat(state.is_open, number)
        logits, cache = decoder.step(state.cache, state.position, before, is_token)
        return _advance(state._replace(cache=cache), logits, beams)

    tokens = jnp.full((decoder.rows, number, decoder.length), PADDING)
    nothing = jnp.full((decoder.rows, number), -jnp.inf)
    start = Search(
        position=jnp.zeros((), jnp.int32),
        running=Hypotheses(tokens, nothing.at[:, 0].set(0.0)),
        finished=Hypotheses(tokens, nothing),
        is_open=jnp.any(decoder.is_source, axis=1),
        cache=decoder.empty_cache(number),
    )
    return jax.lax.while_loop(is_unfinished, step, start).finished.tokens[:, 0]


def _advance(state: Search, logits: Float[Array, "rows vocabulary"], beams: Beams) -> Search:
    """Returns the search one position further."""
    number, length = state.running.tokens.shape[1:]
    candidates, origin = _continuations(state.running, logits, state.position)
    after = state.position + 1
    ends = (candidates.tokens[:, :, state.position] == EOS) | (after == length)
    unended = candidates._replace(value=jnp.where(ends, -jnp.inf, candidates.value))
    running, which = unended.best(number)
    is_new = ends[:, :number] & state.is_open[:, None]
    scores = jnp.where(is_new, beams.score(candidates.value[:, :number], after), -jnp.inf)
    new = Hypotheses(candidates.tokens[:, :number], scores)
    both = (jnp.concatenate(parts, axis=1) for parts in zip(state.finished, new, strict=True))
    finished, _ = Hypotheses(*both).best(number)
    return Search(
        position=after,
        running=running,
        finished=finished,
        is_open=state.is_open & (beams.score(running.value[:, 0], after) > finished.value[:, -1]),
        cache=_reorder_cache(state.cache, jnp.take_along_axis(origin, which, axis=1)),
    )


def _continuations(
    running: Hypotheses, logits: Float[Array, "rows vocabulary"], position: Int[Array, ""]
) -> tuple[Hypotheses, Int[Array, "batch candidates"]]:
    """Returns the 2 * beams most likely continuations, and the hypothesis that each continues.

    Each hypothesis has one continuation with EOS, so at least half of them go on.
    """
    rows, number = running.value.shape
    values = running.value[..., None] + jax.nn.log_softmax(logits).reshape(rows, number, -1)
    value, index = jax.lax.top_k(values.reshape(rows, -1), 2 * number)
    origin, token = jnp.divmod(index, values.shape[-1])
    tokens = jnp.take_along_axis(running.tokens, origin[..., None], axis=1)
    return Hypotheses(tokens.at[:, :, position].set(token), value), origin


def _reorder_cache(cache: Cache, origin: Int[Array, "batch beams"]) -> Cache:
    """Returns the cache of hypotheses that each continue the one at `origin`."""

    def reorder(own: Array) -> Array:
        split = own.reshape(own.shape[0], *origin.shape, *own.shape[2:])
        index = origin[None, :, :, None, None]
        return jnp.take_along_axis(split, index, axis=2).reshape(own.shape)

    return tuple(layer._replace(own=jax.tree.map(reorder, layer.own)) for layer in cache)


def label_nats(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    labels: Int[Array, "labels target"],
    call: Call,
) -> Float[Array, "batch labels"]:
    """Returns minus the log probability of each label for each input, in nats.

    Args:
        model: the network.
        inputs: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        labels: ids with EOS, right-padded. An id outside the vocabulary makes its label NaN.
        call: the devices, and the logits that one of them holds at a time.

    Returns:
        Sums over a label's tokens, EOS included. A row of padding has numbers without a meaning.
    """
    model = never_dropping(model, inputs.shape[1], labels.size)
    rows, batch = len(inputs), _side_by_side(inputs, labels)
    source = model.encode(batch, call).x
    factors = model.logit_factors(model.decode(batch, source, call).x)
    ids = batch.targets.reshape(-1, labels.shape[1])  # a row per input and label
    by_label = LogitFactors(factors.x.reshape(*ids.shape, -1), factors.matrix)
    targets = Labels(ids, ids != PADDING, jnp.ones(()))
    _, sums = cross_entropy(Computation(call.mesh, call.logits_bytes), by_label, targets)
    return sums.nats.reshape(rows, -1)


def _side_by_side(inputs: Int[Array, "batch source"], labels: Int[Array, "labels target"]) -> Batch:
    """Returns a batch whose rows have all labels as targets; inputs without example numbers."""
    rows = len(inputs)
    number = jnp.repeat(jnp.arange(len(labels)), labels.shape[1])
    targets, examples = (
        jnp.broadcast_to(row, (rows, labels.size)) for row in (labels.reshape(-1), number)
    )
    return Batch(inputs, targets, jnp.zeros(rows, jnp.int32), target_example=examples)
