"""The sparse feed-forward on a mesh: each token through one of many experts, at the cost of one.

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
The weights, and what the rest of the network sees of the layer; `on_device.py` is its computation.
A shared expert is a dense feed-forward whose output is added for every token.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.config import ModelConfig, RoutingConfig, SwitchConfig
from model.dimensions import declared_names
from model.layers.dropout import NO_DROPOUT, Dropout
from model.layers.feed_forward import FeedForward
from model.layers.initialization import kernel
from model.sharding.exchanges import over_devices
from model.switch.on_device import DeviceInputs, DeviceOutputs, on_device

SHARED = 2**32 - 1  # folded into the layer's key for the shared expert; `split` makes the others


class Routing(NamedTuple):
    """The routing of a batch in one switch layer; unused fields cost nothing once compiled.

    Attributes:
        expert_index: experts of each token, highest score first.
        kept: True for assignments that were computed; False over capacity and for padding.
        gate: weight of a kept assignment, 0 for others.
        entropy_nats: entropy of the router's distribution.
        balance_loss, z_loss: loss of each routing group times its real tokens, so that an empty
            group does not count and losses of microbatches add up; of a stack their sum.
        expert_slots: capacity summed over experts and pools; dropless: number of assignments.
        probability: sum of probabilities over each group's real tokens; None unless the balance
            loss is over the batch.
        margins: counted margins of each device's tokens; None unless they are to be counted.
    """

    expert_index: Int[Array, "batch length top_k"]
    kept: Bool[Array, "batch length top_k"]
    gate: Float[Array, "batch length top_k"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, "*groups"]
    z_loss: Float[Array, "*groups"]
    expert_slots: Int[Array, ""]
    probability: Float[Array, "*groups experts"] | None = None
    margins: Int[Array, "*devices experts bins"] | None = None

    def over_groups(self) -> "Routing":
        """Returns the routing of stacked layers with sums over groups and devices.

        Once for all layers: a sum per layer would cost the hops of an all-reduce in each.
        """
        balance, z = (jnp.sum(loss, axis=-1) for loss in (self.balance_loss, self.z_loss))
        return self._replace(
            balance_loss=balance,
            z_loss=z,
            probability=None if self.probability is None else jnp.sum(self.probability, axis=-2),
            margins=None if self.margins is None else jnp.sum(self.margins, axis=-3),
        )


class SwitchLayer(eqx.Module):
    """A router and its experts, each a feed-forward like the dense one, and perhaps a shared one.

    The biases of experts are not learned (`balancing.py`).
    """

    router: Float[Array, "embed experts"]
    gate: Float[Array, "experts embed mlp"] | None
    up: Float[Array, "experts embed mlp"]
    down: Float[Array, "experts mlp embed"]
    expert_bias: Float[Array, " experts"] | None = None
    shared: FeedForward | None = None

    @staticmethod
    def init(config: ModelConfig, switch: SwitchConfig, *, key: Key[Array, ""]) -> "SwitchLayer":
        """Draws a router and each expert from its own key."""
        router_key, *keys = jax.random.split(key, 4)

        def draw(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "experts in out"]:
            one = functools.partial(
                kernel, shape, fan_in=shape[0], scale=config.initialization_scale
            )
            return jax.vmap(lambda key: one(key=key))(jax.random.split(key, switch.experts))

        router = jax.random.normal(router_key, (config.embed, switch.experts))
        gated = config.feed_forward == "gated-gelu"
        return SwitchLayer(
            router=switch.router_scale * router,
            gate=draw(keys[0], (config.embed, config.mlp)) if gated else None,
            up=draw(keys[1], (config.embed, config.mlp)),
            down=switch.expert_output_scale * draw(keys[2], (config.mlp, config.embed)),
            expert_bias=jnp.zeros(switch.experts) if switch.has_biases else None,
            shared=_shared_expert(config, switch, jax.random.fold_in(key, SHARED)),
        )

    def __call__(
        self,
        x: Float[Array, "batch length embed"],
        is_token: Bool[Array, "batch length"],
        routing: RoutingConfig,
        *,
        key: Key[Array, ""] | None,
        mesh: Mesh,
        microbatch: Int[Array, ""] | int = 0,
        microbatches: int = 1,
        dropout: Dropout = NO_DROPOUT,
    ) -> tuple[Float[Array, "batch length embed"], Routing]:
        """Sends every token through its experts; dropped assignments add zero.

        Args:
            x: activations.
            is_token: False for padding.
            routing: group size, top-k, capacity and noise.
            key: key of jitter and expert dropout; None if `routing` has neither.
            mesh: the devices.
            microbatch: number of the microbatch, so that each group keeps its jitter.
            microbatches: microbatches per batch.
            dropout: dropout of the shared expert's hidden units.
        """
        run = over_devices(
            functools.partial(on_device, routing=routing, microbatches=microbatches),
            mesh,
            inputs=(declared_names(DeviceInputs),),
            outputs=declared_names(DeviceOutputs),
        )
        weights = self.router, self.gate, self.up, self.down, self.expert_bias
        out = run(DeviceInputs(x, is_token, *weights, key, jnp.asarray(microbatch)))
        y = out.y if self.shared is None else out.y + self.shared(x, mesh, dropout)
        return y, Routing(
            expert_index=out.expert_index,
            kept=out.kept,
            gate=out.gate,
            entropy_nats=out.entropy_nats,
            balance_loss=out.balance_loss,
            z_loss=out.z_loss,
            expert_slots=jnp.sum(out.expert_slots),
            probability=out.probability,
            margins=out.margins,
        )


def _shared_expert(
    config: ModelConfig, switch: SwitchConfig, key: Key[Array, ""]
) -> FeedForward | None:
    if switch.shared_mlp == 0:
        return None
    return FeedForward.init(replace(config, mlp=switch.shared_mlp), key=key)
