"""The training loss, in sums and counts: cross-entropy, output z-loss, the router's two losses.

    loss = sum of nats / real target tokens + 1e-4 * mean squared log Z
           + balance weight * balance + router z weight * router z

Normalized by real target tokens (T5X's `LOSS_NORMALIZING_FACTOR`). The router's losses are means
over switch layers, as in flaxformer, whose models were released. The paper's text adds the balance
losses of all layers, which for 12 layers is 12 times alpha.

A student's cross-entropy to the labels is mixed with that to its teacher. Source: Fedus et al. 2022
(Switch Transformer), section 4.2: "a mixture of 0.25 for the teacher probabilities and 0.75 for the
ground truth label". A mixture of targets is a mixture of cross-entropies:

    nats = hard share * -log q(label) + (1 - hard share) * T^2 * sum of -p log q

with p and q the teacher's and the student's softmax at temperature T. The factor T^2 is from Hinton
et al. 2015, section 2: gradients of softened targets shrink by 1 / T^2, so the factor keeps the
shares independent of the temperature. The Switch paper gives no temperature; 1 is plain mixing.
Only the soft part is softened. `loss_nats` always reports the labels' part alone, so that it
compares with a baseline's.

The teacher runs as in evaluation: no jitter, no dropout, evaluation's capacity. Its gain over the
baseline was measured so; dropless routing would be a different network, and slow on most meshes. No
gradient reaches it, because it does not depend on the student's arrays.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.batch import Batch, Call, Microbatch
from model.config import DistillationConfig
from model.loss.cross_entropy import (
    Computation,
    Labels,
    LogitFactors,
    Objective,
    RowTerms,
    cross_entropy,
)
from model.switch.balancing import LayerRouting, RoutingSums, layer_routing, row_routing
from model.switch.routing import batch_balance_loss
from model.transformer import Output, Transformer

Z_LOSS_WEIGHT = 1e-4  # T5X, mT5 and Switch


class Distillation(NamedTuple):
    """A teacher and how its student learns from it."""

    config: DistillationConfig
    teacher: Transformer

    def logit_factors(self, batch: Batch, call: Call) -> LogitFactors:
        """Returns the factors of the teacher's logits.

        Args:
            batch: the batch, or a microbatch of whole routing groups of the teacher.
            call: inputs of the student's forward pass, of which the teacher uses the mesh only.
        """
        return self.teacher.logit_factors(self.teacher(batch, Call(call.mesh)).decoded)

    @property
    def objective(self) -> Objective:
        """Weights of the terms of a student's loss, without z-loss."""
        config = self.config
        return Objective(hard_share=config.hard_share, temperature=config.temperature)


class RowLosses(NamedTuple):
    """Sums over the real target tokens of each row.

    Attributes:
        loss_nats: cross-entropy.
        squared_log_z: squared log of the output softmax's denominator.
        target_tokens: number of real target tokens.
        finite_layers: number of layers before the first with nonfinite output; not a sum.
    """

    loss_nats: Float[Array, " batch"]
    squared_log_z: Float[Array, " batch"]
    target_tokens: Int[Array, " batch"]
    finite_layers: Int[Array, " batch"]


class Losses(NamedTuple):
    """The losses and the routing of a batch.

    Attributes:
        loss_nats: sum of cross-entropy over real target tokens.
        target_tokens: number of real target tokens.
        z_loss: weighted mean of squared log Z over real target tokens.
        soft_loss_nats: sum of cross-entropy to a teacher; None without one.
        balance_loss: mean over switch layers and real tokens, before alpha; 1 if even, 0 if dense.
        router_z_loss: mean over switch layers and real tokens, before its weight.
        dropped_share: share of real tokens' assignments that were dropped.
        wasted_share: share of expert slots that stayed empty.
        router_entropy_nats: mean over real tokens and switch layers.
        layers: sums per switch layer; None if dense.
        margins: counted margins per switch layer; None unless biases follow from them.
    """

    loss_nats: Float[Array, ""]
    target_tokens: Int[Array, ""]
    z_loss: Float[Array, ""]
    soft_loss_nats: Float[Array, ""] | None = None
    balance_loss: Float[Array, ""] | float = 0.0
    router_z_loss: Float[Array, ""] | float = 0.0
    dropped_share: Float[Array, ""] | float = 0.0
    wasted_share: Float[Array, ""] | float = 0.0
    router_entropy_nats: Float[Array, ""] | float = 0.0
    layers: LayerRouting | None = None
    margins: Int[Array, "layers experts bins"] | None = None


def training_loss(
    model: Transformer, batch: Batch, call: Call, distillation: Distillation | None = None
) -> tuple[Float[Array, ""], tuple[Losses, RowLosses]]:
    """Returns the loss to minimize and its terms.

    The loss of a microbatch (`call.microbatch`) is its share of the batch's: losses of microbatches
    add up to the batch's, and so do gradients. With a teacher its soft loss is mixed in.
    """
    output = model(batch, call)
    objective, teacher = Objective(), None
    if distillation is not None:
        objective, teacher = distillation.objective, distillation.logit_factors(batch, call)
    objective = objective._replace(z_loss_weight=Z_LOSS_WEIGHT)
    tokens = jnp.sum(batch.is_target)
    microbatch = call.microbatch or Microbatch.whole(batch)
    whole = jnp.maximum(microbatch.target_tokens, 1).astype(jnp.float32)
    loss, terms = cross_entropy(
        Computation(call.mesh, call.logits_bytes, objective),
        model.logit_factors(output.decoded),
        Labels(batch.targets, batch.is_target, whole),
        teacher,
    )
    losses = Losses(
        loss_nats=jnp.sum(terms.nats),
        target_tokens=tokens,
        z_loss=Z_LOSS_WEIGHT * jnp.sum(terms.squared_log_z) / whole,
        soft_loss_nats=None if terms.soft_nats is None else jnp.sum(terms.soft_nats),
    )
    rows = row_losses(terms, output, batch)
    switch = model.config.switch
    if switch is None:
        return loss, (losses, rows)
    losses = _with_routing(losses, output, batch, switch.experts, microbatch)
    router_loss = switch.balance_loss_weight * losses.balance_loss
    router_loss += switch.z_loss_weight * losses.router_z_loss
    return loss + router_loss, (losses, rows)


def row_losses(terms: RowTerms, output: Output, batch: Batch) -> RowLosses:
    """Returns the sums of each row."""
    return RowLosses(
        loss_nats=terms.nats,
        squared_log_z=terms.squared_log_z,
        target_tokens=jnp.sum(batch.is_target, axis=-1),
        finite_layers=output.finite_layers,
    )


def combined_losses(microbatches: Losses) -> Losses:
    """Returns the losses of a batch from those of its microbatches, stacked along dimension 0.

    Exact: all of them are sums, or shares of the batch's mean.
    """
    losses = Losses(
        loss_nats=jnp.sum(microbatches.loss_nats),
        target_tokens=jnp.sum(microbatches.target_tokens),
        z_loss=jnp.sum(microbatches.z_loss),
        soft_loss_nats=None
        if microbatches.soft_loss_nats is None
        else jnp.sum(microbatches.soft_loss_nats),
    )
    if microbatches.layers is None:
        return losses
    return losses._replace(
        balance_loss=jnp.sum(microbatches.balance_loss),
        router_z_loss=jnp.sum(microbatches.router_z_loss),
        margins=None if microbatches.margins is None else jnp.sum(microbatches.margins, axis=0),
        **_routing_shares(LayerRouting(*(jnp.sum(sums, axis=0) for sums in microbatches.layers))),
    )


def _with_routing(
    losses: Losses, output: Output, batch: Batch, experts: int, microbatch: Microbatch
) -> Losses:
    stacks = output.routings
    expert_slots = jnp.concatenate([routing.expert_slots for routing in stacks])
    layers = layer_routing(row_routings(output, batch, experts), expert_slots)
    loads = jnp.split(layers.load, 2)
    balance = [
        routing.balance_loss
        if routing.probability is None
        else batch_balance_loss(load, routing.probability)
        for routing, load in zip(stacks, loads, strict=True)
    ]
    margins = [routing.margins for routing in stacks if routing.margins is not None]
    return losses._replace(
        balance_loss=_layers_mean(balance, microbatch),
        router_z_loss=_layers_mean([routing.z_loss for routing in stacks], microbatch),
        margins=jnp.concatenate(margins) if margins else None,
        **_routing_shares(layers),
    )


def _layers_mean(sums: list[Array], microbatch: Microbatch) -> Float[Array, ""]:
    """Returns the mean over both stacks' layers of sums over tokens, per token of the batch."""
    tokens = microbatch.source_tokens, microbatch.target_tokens
    parts = [part / jnp.maximum(count, 1) for part, count in zip(sums, tokens, strict=True)]
    return jnp.mean(jnp.concatenate(parts))


def _routing_shares(layers: LayerRouting) -> dict[str, Any]:
    return {
        "dropped_share": _share(layers.dropped, layers.load),
        "wasted_share": _share(layers.wasted, layers.expert_slots),
        "router_entropy_nats": _share(layers.entropy_nats, layers.tokens),
        "layers": layers,
    }


def _share(part: Array, whole: Array) -> Float[Array, ""]:
    return jnp.sum(part).astype(jnp.float32) / jnp.maximum(jnp.sum(whole), 1)


def row_routings(output: Output, batch: Batch, experts: int) -> RoutingSums:
    """Returns the routing sums of each row, the encoder's layers before the decoder's."""
    encoder, decoder = output.routings
    return jax.tree.map(
        lambda *stacks: jnp.concatenate(stacks),
        row_routing(encoder, batch.is_source, experts),
        row_routing(decoder, batch.is_target, experts),
    )
