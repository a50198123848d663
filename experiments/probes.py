"""Probes of what a network uses of its inputs, on batches of held-out windows.

Each probe is a mean over the same held-out windows, in nats per predicted token of a gap, or an
attention weight. Together they measure which part of the inputs the decoder uses:

    loss        as trained
    first       the same of the first token of each gap
    later       of the others
    other_row   what the loss rises by when inputs are those of another row: the worth of the inputs
    other_gap   what it rises by when the sentinels of a row change places: the worth of knowing the
                gap; 0 for a decoder that treats the inputs as a bag of words
    no_near     what it rises by when the tokens next to each sentinel are those of another row
    no_far      what it rises by when all other tokens are
    at_gap      largest cross-attention of a head to the sentinel of the token's gap and its two
                neighbours, mean over tokens
    before      largest self-attention of a decoder's head to the position before, mean over tokens
    beside      largest self-attention of an encoder's head to both neighbours, mean over tokens
    encoder_entropy, decoder_entropy
                entropy of the routers' distributions in nats, of 2.77 for 16 experts; a dense run
                has none
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.batch import Batch, Call
from model.config import PADDING
from model.layers.attention import MASKED, Attention
from model.transformer import Layer, Output, Stack, StackInputs, Transformer

NEAR = 2  # tokens on each side of a sentinel that count as next to it
SENTINELS = 100
NAMES = (
    *("loss", "first", "later", "other_row", "other_gap", "no_near", "no_far"),
    *("at_gap", "before", "beside", "encoder_entropy", "decoder_entropy"),
)


class Gaps(NamedTuple):
    """Where the tokens to predict belong.

    Attributes:
        within: True for targets that are tokens of a gap, and no sentinel.
        first: True for the first token of a gap.
        place: position in the inputs of the gap's sentinel, per target.
    """

    within: Bool[Array, "batch target"]
    first: Bool[Array, "batch target"]
    place: Int[Array, "batch target"]


def probes_of(
    model_of: Callable[[Any], Transformer], call: Call, sentinel: int
) -> Callable[[Any, Batch], dict[str, Float[Array, ""]]]:
    """Returns a function of a network's arrays and a batch that computes all probes."""

    def probe(arrays: Any, batch: Batch) -> dict[str, Float[Array, ""]]:
        model, gaps = model_of(arrays), gaps_of(batch, sentinel)
        output = model(batch, call)
        nats = nats_of(model, output.decoded, batch)
        loss = mean_over(nats, gaps.within)

        def worth(inputs: Int[Array, "batch source"]) -> Float[Array, ""]:
            changed = Batch(inputs, batch.targets, batch.language)
            without = nats_of(model, model(changed, call).decoded, changed)
            return mean_over(without, gaps.within) - loss

        return {
            "loss": loss,
            "first": mean_over(nats, gaps.within & gaps.first),
            "later": mean_over(nats, gaps.within & ~gaps.first),
            **{name: worth(changed) for name, changed in changed_inputs(batch, sentinel).items()},
            **attention_of(model, batch, gaps, call),
            **routing_of(output, batch),
        }

    return probe


def changed_inputs(batch: Batch, sentinel: int) -> dict[str, Int[Array, "batch source"]]:
    """Returns the inputs of each probe of their worth."""
    inputs, other = batch.inputs, jnp.roll(batch.inputs, 1, axis=0)
    marks = is_sentinel(inputs, sentinel)
    text = batch.is_source & ~marks
    usable = (other != PADDING) & ~is_sentinel(other, sentinel)

    def replaced(where: Bool[Array, "batch source"]) -> Int[Array, "batch source"]:
        return jnp.where(where & text & usable, other, inputs)

    near = next_to(marks)
    return {
        "other_row": replaced(text),
        "other_gap": exchanged(inputs, sentinel),
        "no_near": replaced(near),
        "no_far": replaced(~near),
    }


def is_sentinel(ids: Int[Array, "batch length"], first: int) -> Bool[Array, "batch length"]:
    """Returns True for sentinels, the ids up to the first one."""
    return (ids <= first) & (ids > first - SENTINELS)


def gaps_of(batch: Batch, sentinel: int) -> Gaps:
    """Returns the gap of each target."""
    marks = is_sentinel(batch.targets, sentinel)
    number = jnp.maximum(jnp.cumsum(marks, axis=1) - 1, 0)
    same = batch.inputs[:, None, :] == (sentinel - number)[:, :, None]
    after = jnp.pad(marks[:, :-1], ((0, 0), (1, 0)))
    return Gaps(batch.is_target & ~marks, after, jnp.argmax(same, axis=2))


def exchanged(inputs: Int[Array, "batch source"], sentinel: int) -> Int[Array, "batch source"]:
    """Returns inputs whose sentinels stand in the opposite order."""
    marks = is_sentinel(inputs, sentinel)
    count = marks.sum(axis=1, keepdims=True)
    return jnp.where(marks, sentinel - (count - 1 - (sentinel - inputs)), inputs)


def next_to(marks: Bool[Array, "batch source"]) -> Bool[Array, "batch source"]:
    """Returns True for positions at most `NEAR` from a mark."""
    width = marks.shape[1]
    padded = jnp.pad(marks, ((0, 0), (NEAR, NEAR)))
    return jnp.stack([padded[:, at : at + width] for at in range(2 * NEAR + 1)]).any(axis=0)


def nats_of(
    model: Transformer, decoded: Float[Array, "batch target embed"], batch: Batch
) -> Float[Array, "batch target"]:
    """Returns the loss of each target."""
    scores = jax.nn.log_softmax(model.head(decoded))
    return -jnp.take_along_axis(scores, batch.targets[:, :, None], axis=2)[..., 0]


def mean_over(
    values: Float[Array, "*heads batch length"], of: Bool[Array, "batch length"]
) -> Float[Array, "*heads"]:
    """Returns the mean of the values that count."""
    return jnp.sum(values * of, axis=(-2, -1)) / jnp.sum(of)


def attention_of(
    model: Transformer, batch: Batch, gaps: Gaps, call: Call
) -> dict[str, Float[Array, ""]]:
    """Returns the attention of the head and layer that has most of it."""
    length, keys = batch.targets.shape[1], batch.inputs.shape[1]
    at_gap = jnp.abs(jnp.arange(keys) - gaps.place[:, :, None]) <= 1
    source = model.encode(batch, call).x
    own = StackInputs(batch.source_to_source, batch.is_source, None, None)
    theirs = StackInputs(batch.target_to_target, batch.is_target, source, batch.target_to_source)
    shares: dict[str, list[Array]] = {"at_gap": [], "before": [], "beside": []}
    for to_itself, _ in attentions(model.encoder, model.embed(batch.inputs, call), own, call):
        beside = jnp.abs(distances(keys)) == 1
        shares["beside"].append(mean_over(mass(to_itself, beside), batch.is_source))
    x = model.embed(batch.decoder_inputs, call)
    for to_itself, to_source in attentions(model.decoder, x, theirs, call):
        shares["before"].append(mean_over(mass(to_itself, distances(length) == -1), gaps.within))
        shares["at_gap"].append(mean_over(mass(to_source, at_gap[:, None]), gaps.within))
    return {name: jnp.max(jnp.stack(values)) for name, values in shares.items()}


def distances(length: int) -> Int[Array, "length length"]:
    """Returns key minus query."""
    return jnp.arange(length) - jnp.arange(length)[:, None]


def mass(
    seen: Float[Array, "batch heads queries keys"], where: Bool[Array, "*any queries keys"]
) -> Float[Array, "heads batch queries"]:
    """Returns the attention to some keys."""
    return jnp.sum(seen * where, axis=-1).swapaxes(0, 1)


def attentions(
    stack: Stack, x: Float[Array, "batch length embed"], inputs: StackInputs, call: Call
) -> Iterator[tuple[Array, Array]]:
    """Yields the attention of each layer in its own stack and, in a decoder, in the inputs."""
    length = x.shape[1]
    bias, mask = stack.position_bias(length, length), inputs.visible.mask(length, length)
    for number, layer in layers_of(stack.blocks):
        y = layer.self_norm(x)
        to_itself = to_source = weights(layer.self_attention, y, y, bias, mask)
        if inputs.source is not None and inputs.visible_source is not None:
            assert layer.cross_norm is not None
            assert layer.cross_attention is not None
            update = layer.self_attention(y, y, stack.position_bias, inputs.visible, call.mesh)
            z, seen = layer.cross_norm(x + update), inputs.visible_source
            visible = seen.mask(length, inputs.source.shape[1])
            to_source = weights(layer.cross_attention, z, inputs.source, None, visible)
        yield to_itself, to_source
        x = x + stack.attend(layer, x, inputs, call.mesh)
        x = x + stack.feed_forward(layer, x, inputs.is_token, call, jnp.asarray(number))[0]


def layers_of(blocks: Any) -> Iterator[tuple[int, Layer]]:
    """Yields block number and layer, in order, of blocks stacked in a first dimension."""
    arrays, static = eqx.partition(blocks, eqx.is_array)
    for number in range(len(jax.tree.leaves(arrays)[0])):
        block = jax.tree.map(lambda leaf, at=number: leaf[at], arrays)
        for layer in eqx.combine(block, static):
            yield number, layer


def weights(
    attention: Attention,
    x: Float[Array, "batch queries embed"],
    source: Float[Array, "batch keys embed"],
    bias: Float[Array, "heads queries keys"] | None,
    mask: Bool[Array, "#batch #queries keys"],
) -> Float[Array, "batch heads queries keys"]:
    """Returns the attention of each query."""
    query = jnp.einsum("bqe,ehd->bqhd", x, attention.query)
    keys = jnp.einsum("bke,ehd->bkhd", source, attention.key)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, keys)
    scores = scores if bias is None else scores + bias[None]
    return jax.nn.softmax(jnp.where(mask[:, None], scores, MASKED), axis=-1)


def routing_of(output: Output, batch: Batch) -> dict[str, Float[Array, ""]]:
    """Returns the entropies of a Switch's routers, nothing of a dense network."""
    stacks = {
        "encoder_entropy": (output.encoder_routing, batch.is_source),
        "decoder_entropy": (output.decoder_routing, batch.is_target),
    }
    return {
        name: jnp.mean(mean_over(routing.entropy_nats, real))
        for name, (routing, real) in stacks.items()
        if routing is not None
    }
