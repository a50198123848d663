"""The training loss, in sums and counts: cross-entropy, output z-loss, balance loss.

    loss = sum of nats / real target tokens + 1e-4 * mean squared log Z + alpha * balance

Normalised by real target tokens (T5X's `LOSS_NORMALIZING_FACTOR`). The balance loss is the mean
over switch layers, as in flaxformer, whose models were released; the paper's text adds it layer by
layer, which for 12 layers is 12 times alpha.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.batch import Batch
from model.switch_layer import Routing
from model.transformer import Call, Output, Part, Transformer

Z_LOSS_WEIGHT = 1e-4  # T5X, mT5 and Switch


class RowLosses(NamedTuple):
    """Sums over each row's real target tokens.

    Attributes:
        loss_nats: cross-entropy.
        squared_log_z: of the output softmax.
        target_tokens: how many there are.
    """

    loss_nats: Float[Array, " batch"]
    squared_log_z: Float[Array, " batch"]
    target_tokens: Int[Array, " batch"]


class Losses(NamedTuple):
    """Of a batch: sums, counts, and what routing did.

    Attributes:
        loss_nats: sum of cross-entropy over real target tokens.
        target_tokens: their number.
        z_loss: mean squared log Z, weighted.
        balance_loss: mean over switch layers, before alpha; 0 where dense, 1 when even.
        dropped_share: of real tokens at switch layers that found no slot.
        router_entropy_nats: mean over real tokens and switch layers.
    """

    loss_nats: Float[Array, ""]
    target_tokens: Int[Array, ""]
    z_loss: Float[Array, ""]
    balance_loss: Float[Array, ""]
    dropped_share: Float[Array, ""]
    router_entropy_nats: Float[Array, ""]


def row_losses(output: Output, batch: Batch) -> RowLosses:
    """Returns each row's sums."""
    log_z = jax.nn.logsumexp(output.logits, axis=-1)
    # A comparison instead of an index, which would gather a vocabulary split over devices.
    ids = jnp.arange(output.logits.shape[-1])
    is_label = ids == batch.targets[..., None]
    label_logit = jnp.sum(jnp.where(is_label, output.logits, 0.0), axis=-1)
    real = batch.is_target
    return RowLosses(
        loss_nats=jnp.sum((log_z - label_logit) * real, axis=-1),
        squared_log_z=jnp.sum(jnp.square(log_z) * real, axis=-1),
        target_tokens=jnp.sum(real, axis=-1),
    )


def training_loss(
    model: Transformer, batch: Batch, call: Call
) -> tuple[Float[Array, ""], tuple[Losses, RowLosses]]:
    """Returns the loss to minimise and what it is made of.

    Of a part of a batch (`call.part`) it is the part's share: the parts' losses add up to the
    batch's, and so do their gradients.
    """
    output = model(batch, call)
    rows = row_losses(output, batch)
    tokens = jnp.sum(rows.target_tokens)
    part = Part(0, 1, tokens) if call.part is None else call.part
    whole = jnp.maximum(part.target_tokens, 1)
    routings = [
        (routing, mask)
        for routing, mask in (
            (output.encoder_routing, batch.is_source),
            (output.decoder_routing, batch.is_target),
        )
        if routing is not None
    ]
    losses = Losses(
        loss_nats=jnp.sum(rows.loss_nats),
        target_tokens=tokens,
        z_loss=Z_LOSS_WEIGHT * jnp.sum(rows.squared_log_z) / whole,
        balance_loss=_mean([jnp.mean(routing.balance_loss) for routing, _ in routings]),
        dropped_share=_token_mean([(~r.kept, mask) for r, mask in routings]),
        router_entropy_nats=_token_mean([(r.entropy_nats, mask) for r, mask in routings]),
    )
    switch = model.config.switch
    alpha = 0.0 if switch is None else switch.balance_loss_weight
    loss = losses.loss_nats / whole + losses.z_loss + alpha * losses.balance_loss / part.count
    return loss, (losses, rows)


def combine(parts: Losses, tokens: Int[Array, " parts"]) -> Losses:
    """Returns the losses of a batch, given those of its parts and their real tokens.

    Exact: all parts have as many routing groups, and all layers see all of a part's tokens.
    """
    by_tokens = jax.tree.map(lambda values: jnp.sum(values * tokens) / jnp.sum(tokens), parts)
    return by_tokens._replace(
        loss_nats=jnp.sum(parts.loss_nats),
        target_tokens=jnp.sum(parts.target_tokens),
        z_loss=jnp.sum(parts.z_loss),
        balance_loss=jnp.mean(parts.balance_loss),
    )


def row_routing_counts(
    routing: Routing, mask: Bool[Array, "batch length"], experts: int
) -> tuple[Int[Array, "blocks batch experts"], Int[Array, "blocks batch"]]:
    """Returns how many of a row's real tokens chose each expert, and how many found no slot."""

    def one_block(expert: Int[Array, "batch length"]) -> Int[Array, "batch experts"]:
        rows = jnp.arange(expert.shape[0])[:, None]
        empty = jnp.zeros((expert.shape[0], experts), jnp.int32)
        return empty.at[rows, expert].add(mask.astype(jnp.int32))

    dropped = jnp.sum(mask & ~routing.kept, axis=-1)
    return jax.vmap(one_block)(routing.expert), dropped


def _mean(values: list[Float[Array, ""]]) -> Float[Array, ""]:
    return jnp.mean(jnp.stack(values)) if values else jnp.zeros(())


def _token_mean(parts: list[tuple[Array, Bool[Array, "batch _"]]]) -> Float[Array, ""]:
    """Mean over real tokens and blocks of several stacks together."""
    if not parts:
        return jnp.zeros(())
    total = sum(jnp.sum(values * mask) for values, mask in parts)
    count = sum(values.shape[0] * jnp.sum(mask) for values, mask in parts)
    return (total / jnp.maximum(count, 1)).astype(jnp.float32)


def score(model: Transformer, batch: Batch, call: Call) -> RowLosses:
    """Scores a batch without training: one row's sums each."""
    return row_losses(model(batch, call), batch)
