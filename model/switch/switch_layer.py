"""The sparse feed-forward on a mesh: each token through one of many experts, at the cost of one.

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
`_on_device` is the whole layer as one device runs it, with explicit communication:

    jitter -> router logits -> top-k and gates                    routing.py
    -> all-to-all -> own experts -> sum over `model` -> all-to-all     dispatch.py
    -> weigh by gates and add                                     combine

Two all-to-alls forward, two backward, no all-gather of activations: only weights are gathered
(`gathered_weights.py`). Routing groups are consecutive tokens of the batch; their size comes from
the config and never from the mesh, as does the number of groups that share experts' capacity.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.config import ModelConfig, RoutingConfig, SwitchConfig
from model.dimensions import declared_names
from model.layers.initialization import kernel
from model.sharding.exchanges import device_index, over_devices
from model.sharding.layouts import BATCH_AXES
from model.switch.dispatch import dispatch
from model.switch.experts import Experts
from model.switch.gathered_weights import gathered, gathered_router
from model.switch.routing import route


class Routing(NamedTuple):
    """The routing of a batch in one switch layer; unused fields cost nothing once compiled.

    Attributes:
        expert_index: experts of each token, most probable first.
        kept: True for assignments that were computed; False over capacity and for padding.
        gate: weight of a kept assignment, 0 for others.
        entropy_nats: entropy of the router's distribution.
        balance_loss, z_loss: loss of each routing group times its real tokens, so that an empty
            group does not count and losses of microbatches add up; of a stack their sum.
        expert_slots: capacity summed over experts and pools; dropless: number of assignments.
    """

    expert_index: Int[Array, "batch length top_k"]
    kept: Bool[Array, "batch length top_k"]
    gate: Float[Array, "batch length top_k"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, "*groups"]
    z_loss: Float[Array, "*groups"]
    expert_slots: Int[Array, ""]

    def over_groups(self) -> "Routing":
        """Returns the routing of stacked layers with their losses summed over groups.

        Once for all layers: a sum per layer would cost the hops of an all-reduce in each.
        """
        balance, z = (jnp.sum(loss, axis=-1) for loss in (self.balance_loss, self.z_loss))
        return self._replace(balance_loss=balance, z_loss=z)


class DeviceInputs(NamedTuple):
    """The inputs of one device; dimension names also define how the whole arrays are split."""

    x: Float[Array, "batch length embed"]
    is_token: Bool[Array, "batch length"]
    router: Float[Array, "embed_shard experts"]
    gate: Float[Array, "experts embed_shard mlp"] | None
    up: Float[Array, "experts embed_shard mlp"]
    down: Float[Array, "experts mlp embed_shard"]
    key: Key[Array, ""] | None
    microbatch: Int[Array, ""]


class DeviceOutputs(NamedTuple):
    """What a device returns: combined expert outputs and the fields of `Routing`, by group."""

    y: Float[Array, "batch length embed"]
    expert_index: Int[Array, "batch length top_k"]
    kept: Bool[Array, "batch length top_k"]
    gate: Float[Array, "batch length top_k"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, " groups"]
    z_loss: Float[Array, " groups"]
    expert_slots: Int[Array, " groups"]


class SwitchLayer(eqx.Module):
    """A router and its experts, each a feed-forward like the dense one."""

    router: Float[Array, "embed experts"]
    gate: Float[Array, "experts embed mlp"] | None
    up: Float[Array, "experts embed mlp"]
    down: Float[Array, "experts mlp embed"]

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
        """
        run = over_devices(
            functools.partial(_on_device, routing=routing, microbatches=microbatches),
            mesh,
            inputs=(declared_names(DeviceInputs),),
            outputs=declared_names(DeviceOutputs),
        )
        weights = self.router, self.gate, self.up, self.down
        out = run(DeviceInputs(x, is_token, *weights, key, jnp.asarray(microbatch)))
        return out.y, Routing(
            expert_index=out.expert_index,
            kept=out.kept,
            gate=out.gate,
            entropy_nats=out.entropy_nats,
            balance_loss=out.balance_loss,
            z_loss=out.z_loss,
            expert_slots=jnp.sum(out.expert_slots),
        )


def _on_device(inputs: DeviceInputs, *, routing: RoutingConfig, microbatches: int) -> DeviceOutputs:
    """Routes, dispatches and combines the tokens of one device."""
    x = inputs.x.reshape(-1, routing.group_tokens, inputs.x.shape[-1])
    is_token = inputs.is_token.reshape(x.shape[:2])
    jitter_key, dropout_key = _noise_keys(inputs, microbatches)
    device = device_index(BATCH_AXES)
    first_group = (device * microbatches + inputs.microbatch) * len(x)

    # Route.
    jittered = _jittered(x.astype(jnp.float32), routing.jitter, jitter_key, first_group)
    router = gathered_router(inputs.router)
    logits = jnp.einsum("gte,en->gtn", jittered, router, precision=jax.lax.Precision.HIGHEST)
    routed = jax.vmap(functools.partial(route, top_k=routing.top_k))(logits, is_token)

    # Dispatch to the experts and back.
    total = router.shape[-1]
    expert_index = jnp.where(is_token[..., None], routed.expert_index, total)
    experts = Experts(
        *_expert_weights(inputs), total=total, dropout_rate=routing.expert_dropout, key=dropout_key
    )
    y, kept, expert_slots = dispatch(x, expert_index, experts, routing)

    # Combine.
    gate = routed.gate * kept
    tokens = jnp.sum(is_token, axis=1)
    combined = jnp.sum(y * gate[..., None].astype(x.dtype), axis=2)
    per_token = (*inputs.is_token.shape, routing.top_k)
    return DeviceOutputs(
        y=combined.reshape(inputs.x.shape),
        expert_index=routed.expert_index.reshape(per_token),
        kept=kept.reshape(per_token),
        gate=gate.reshape(per_token),
        entropy_nats=routed.entropy_nats.reshape(inputs.is_token.shape),
        balance_loss=routed.balance_loss * tokens,
        z_loss=routed.z_loss * tokens,
        expert_slots=expert_slots,
    )


def _expert_weights(inputs: DeviceInputs) -> tuple[Array | None, Array, Array]:
    """Returns gate, up and down of this device's experts in the tokens' type."""
    dtype = inputs.x.dtype
    gate = None if inputs.gate is None else gathered(inputs.gate, 1, dtype)
    return gate, gathered(inputs.up, 1, dtype), gathered(inputs.down, 2, dtype)


def _noise_keys(
    inputs: DeviceInputs, microbatches: int
) -> tuple[Key[Array, ""] | None, Key[Array, ""] | None]:
    """Returns the keys of jitter and expert dropout; None without randomness."""
    if inputs.key is None:
        return None, None
    jitter_key, dropout_key = jax.random.split(inputs.key)
    if microbatches > 1:  # dropout masks may differ from the whole batch's: pretraining has none
        dropout_key = jax.random.fold_in(dropout_key, inputs.microbatch)
    return jitter_key, dropout_key


def _jittered(
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""] | None,
    first_group: Int[Array, ""],
) -> Float[Array, "groups tokens embed"]:
    """Multiplies by U(1 - jitter, 1 + jitter); a group's noise depends on its number only."""
    if jitter == 0.0:
        return x
    assert key is not None  # jitter has a key
    numbers = first_group + jnp.arange(len(x))
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    noise = jax.vmap(
        lambda key: jax.random.uniform(key, x.shape[1:], minval=1 - jitter, maxval=1 + jitter)
    )(keys)
    return x * noise
