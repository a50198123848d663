"""Balance of experts: routing statistics, and biases that even out loads without a gradient.

**Statistics** are sums over real tokens, by switch layer and row or language. Switch layers are
numbered from the encoder's first to the decoder's last. Whoever reads the sums computes means and
shares: a language's dropped share is the sum of its rows' dropped assignments divided by the sum of
their assignments.

**Biases.** Each expert has one, which is added to the router's logits to choose a token's experts
and never enters a gate. After a step the biases move, by one of two rules:

* Sign: the bias of an expert with fewer assignments than the mean rises by a fixed rate, and that
  of one with more falls. Source: Wang et al. 2024 (Auxiliary-Loss-Free Load Balancing Strategy for
  Mixture-of-Experts), algorithm 1; DeepSeek-V3 (2024), section 2.1.2.
* Quantile: each bias goes to where the expert would have had its even share of the tokens. Source:
  Su 2026 (kexue.fm/archives/11619), as in Marin, Kimi K3 and Megatron-Core.

Wang et al. and Kimi K3 add biases to sigmoids of the logits. A softmax's probabilities shrink as
experts are added, and logits do not, so that a rate of logits means the same in every recipe.

Biases are arrays of the network, because evaluation chooses by them too. They are not part of what
is learned: they have no gradient and no state of the optimizer.
"""

from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from model.config import SwitchConfig
from model.switch.routing import margin_quantile
from model.switch.switch_layer import Routing

BIAS = "expert_bias"  # field of a switch layer
Network = TypeVar("Network")


class RoutingSums(NamedTuple):
    """Sums over the real tokens of each row of a batch, or of each language.

    Attributes:
        load: assignments per expert, before capacity.
        dropped: assignments over capacity.
        entropy_nats: entropy of the router's distribution.
        tokens: number of real tokens.
        gate: gates of each expert's assignments, 0 for dropped ones.
    """

    load: Int[Array, "layers parts experts"]
    dropped: Int[Array, "layers parts"]
    entropy_nats: Num[Array, "layers parts"]
    tokens: Int[Array, "layers parts"]
    gate: Float[Array, "layers parts experts"]


class LayerRouting(NamedTuple):
    """Sums over the real tokens of a batch.

    Attributes:
        load, dropped, entropy_nats, tokens: as in `RoutingSums`.
        expert_slots: capacity summed over experts and pools of groups.
        wasted: expert slots that stayed empty.
    """

    load: Int[Array, "layers experts"]
    dropped: Int[Array, " layers"]
    entropy_nats: Num[Array, " layers"]
    tokens: Int[Array, " layers"]
    expert_slots: Int[Array, " layers"]
    wasted: Int[Array, " layers"]


def row_routing(
    routing: Routing, is_token: Bool[Array, "batch length"], experts: int
) -> RoutingSums:
    """Returns the sums of one stack, whose routing has a leading dimension of layers."""
    real = is_token[None, ..., None]
    # Compared, not scattered: a reduction stays on its device and is never materialized.
    is_assigned = (routing.expert_index[..., None] == jnp.arange(experts)) & real[..., None]
    return RoutingSums(
        load=jnp.sum(is_assigned, axis=(2, 3)),
        dropped=jnp.sum(real & ~routing.kept, axis=(2, 3)),
        entropy_nats=jnp.sum(routing.entropy_nats * is_token, axis=2),
        tokens=jnp.broadcast_to(jnp.sum(is_token, axis=-1), routing.kept.shape[:2]),
        gate=jnp.sum(jnp.where(is_assigned, routing.gate[..., None], 0.0), axis=(2, 3)),
    )


def language_routing(
    rows: RoutingSums, language: Int[Array, " batch"], languages: int
) -> RoutingSums:
    """Returns the sums over the rows of each language.

    Args:
        rows: sums of each row. Those of all rows are never gathered: Switch-C's are 0.9 GiB.
        language: number of each row's language; one below 0 counts nowhere.
        languages: number of languages.
    """
    is_of = language[:, None] == jnp.arange(languages)

    def sum_rows(part: Num[Array, "layers batch *rest"]) -> Num[Array, "layers languages *rest"]:
        mask = is_of.reshape(1, *is_of.shape, *(1,) * (part.ndim - 2))
        return jnp.sum(jnp.where(mask, part[:, :, None], 0), axis=1)

    return RoutingSums(*map(sum_rows, rows))


def layer_routing(rows: RoutingSums, expert_slots: Int[Array, " layers"]) -> LayerRouting:
    """Returns the sums over all rows."""
    load, dropped, entropy, tokens, _ = (jnp.sum(part, axis=1) for part in rows)
    return LayerRouting(
        load=load,
        dropped=dropped,
        entropy_nats=entropy,
        tokens=tokens,
        expert_slots=expert_slots,
        wasted=expert_slots - (jnp.sum(load, axis=-1) - dropped),
    )


def without_expert_biases(network: Network) -> Network:
    """Returns a network, or a tree of its structure, with None in place of the biases."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if getattr(path[-1], "name", None) == BIAS else leaf, network
    )


def with_new_biases(
    network: Network,
    switch: SwitchConfig | None,
    layers: LayerRouting | None,
    margins: Int[Array, "layers experts bins"] | None,
) -> Network:
    """Returns a network with the biases that follow from a step's routing, if it has any.

    Args:
        network: the network, or its arrays.
        switch: configuration of its switch layers; None if dense.
        layers: routing of the step's batch, the encoder's layers before the decoder's.
        margins: counted margins of these layers, for the rule of quantiles.
    """
    if switch is None or layers is None or not switch.has_biases:
        return network
    before = _expert_biases(network)
    bias = jnp.concatenate(before)
    if margins is None:
        moved = sign_rule(bias, layers.load, switch.bias_rate)
    else:
        share = switch.choices / switch.experts
        moved = quantile_rule(bias, margins, share, switch.quantile_rate)
    return eqx.tree_at(_expert_biases, network, jnp.split(moved, len(before)))


def sign_rule(
    bias: Float[Array, "*layers experts"], load: Int[Array, "*layers experts"], rate: float
) -> Float[Array, "*layers experts"]:
    """Returns bias + rate * sign(mean load - load)."""
    mean = jnp.mean(load, axis=-1, keepdims=True, dtype=jnp.float32)
    return bias + rate * jnp.sign(mean - load)


def quantile_rule(
    bias: Float[Array, "*layers experts"],
    margins: Int[Array, "*layers experts bins"],
    share: float,
    rate: float,
) -> Float[Array, "*layers experts"]:
    """Returns biases moved towards those with which each expert has its share of the tokens.

    Their mean is 0, which changes no choice.

    Args:
        bias: biases by which the batch was routed.
        margins: counted margins of the batch.
        share: an expert's even share of the tokens.
        rate: share of the way to go; 1 goes all of it.
    """
    moved = bias - rate * margin_quantile(share, margins)
    return moved - jnp.mean(moved, axis=-1, keepdims=True)


def _expert_biases(network: Any) -> list[Any]:
    stacks = network.encoder, network.decoder
    return [getattr(stack.blocks[-1].feed_forward, BIAS) for stack in stacks]
