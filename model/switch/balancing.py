"""Biases that even out the experts' loads without a gradient.

Each expert has a bias, which is added to the router's logits to choose a token's experts and never
enters a gate. After a step the biases move, by one of two rules:

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

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.config import SwitchConfig
from model.switch.margins import margin_quantile
from model.switch.routing_sums import LayerRouting

BIAS = "expert_bias"  # field of a switch layer
Network = TypeVar("Network")


def without_expert_biases(network: Network) -> Network:
    """Returns a network, or a tree of its structure, with None in place of the biases."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if getattr(path[-1], "name", None) == BIAS else leaf, network
    )


def rebalanced(
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
    before = _biases(network)
    bias = jnp.concatenate(before)
    if margins is None:
        moved = shifted_by_sign(bias, layers.load, switch.bias_rate)
    else:
        share = switch.choices / switch.experts
        moved = shifted_by_quantile(bias, margins, share, switch.quantile_rate)
    return eqx.tree_at(_biases, network, jnp.split(moved, len(before)))


def shifted_by_sign(
    bias: Float[Array, "*layers experts"], load: Int[Array, "*layers experts"], rate: float
) -> Float[Array, "*layers experts"]:
    """Returns bias + rate * sign(mean load - load)."""
    mean = jnp.mean(load, axis=-1, keepdims=True, dtype=jnp.float32)
    return bias + rate * jnp.sign(mean - load)


def shifted_by_quantile(
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


def _biases(network: Any) -> list[Any]:
    stacks = network.encoder, network.decoder
    return [getattr(stack.blocks[-1].feed_forward, BIAS) for stack in stacks]
