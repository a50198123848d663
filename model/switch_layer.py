"""The sparse feed-forward: each token through one of many experts, at the cost of one.

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
The layer runs on every device's own tokens and says its communication out loud:

    route own groups -> fill slots -> all-to-all -> own experts -> all-to-all -> back to tokens

Two all-to-alls forward, two backward, no gather of activations. Slots are filled and emptied by
index. Routing groups are consecutive tokens of the batch, their number set by the config.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.config import ModelConfig, SwitchConfig
from model.feed_forward import activated
from model.initialization import kernel
from model.routing import Route, expert_capacity, route, token_of_slot
from model.sharding import BATCH_AXES, over_devices

EXCHANGED = "exchanged"  # what arrived by an all-to-all; rematerialisation may keep it
ROUTER_SCALE = 0.02  # flaxformer: normal(2e-2), "slightly better" than a tenth of the usual scale


class Routing(NamedTuple):
    """What one switch layer did, token by token; unused fields cost nothing once compiled.

    Attributes:
        expert: the chosen expert.
        kept: True where the token had a slot.
        gate: probability of the chosen expert where kept.
        entropy_nats: of the router's distribution.
        balance_loss: mean over the routing groups.
    """

    expert: Int[Array, "batch length"]
    kept: Bool[Array, "batch length"]
    gate: Float[Array, "batch length"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, ""]


class SwitchLayer(eqx.Module):
    """A router and its experts, each a network as the dense one; without a gate where that is."""

    router: Float[Array, "embed experts"]
    gate: Float[Array, "experts embed mlp"] | None
    up: Float[Array, "experts embed mlp"]
    down: Float[Array, "experts mlp embed"]

    @staticmethod
    def init(config: ModelConfig, switch: SwitchConfig, *, key: Key[Array, ""]) -> "SwitchLayer":
        """Draws a router and every expert on its own."""
        router_key, *keys = jax.random.split(key, 4)

        def draw(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "experts in out"]:
            one = functools.partial(
                kernel, shape, fan_in=shape[0], scale=config.initialization_scale
            )
            return jax.vmap(lambda key: one(key=key))(jax.random.split(key, switch.experts))

        return SwitchLayer(
            router=ROUTER_SCALE * jax.random.normal(router_key, (config.embed, switch.experts)),
            gate=(
                draw(keys[0], (config.embed, config.mlp))
                if config.feed_forward == "gated-gelu"
                else None
            ),
            up=draw(keys[1], (config.embed, config.mlp)),
            down=draw(keys[2], (config.mlp, config.embed)),
        )

    def __call__(
        self,
        x: Float[Array, "batch length embed"],
        is_token: Bool[Array, "batch length"],
        *,
        group_tokens: int,
        capacity_factor: float,
        minimum_capacity: int,
        jitter: float,
        key: Key[Array, ""],
        mesh: Mesh,
        part: Int[Array, ""] | int = 0,
        parts: int = 1,
    ) -> tuple[Float[Array, "batch length embed"], Routing]:
        """Sends every token through its expert; tokens without a slot come back as zeros.

        `part` of `parts` says which of each device's groups these are where a batch is computed in
        parts: a group keeps its number and so its jitter.
        """
        experts = self.router.shape[-1]
        capacity = expert_capacity(group_tokens, experts, capacity_factor, minimum_capacity)
        layer = functools.partial(
            _on_device, group_tokens=group_tokens, capacity=capacity, jitter=jitter, parts=parts
        )
        tokens = "batch length"
        *outputs, balance_losses = over_devices(
            layer,
            mesh,
            inputs=(
                "batch length embed",
                tokens,
                "",
                "",
                "embed any_experts",
                "experts embed mlp",
                "experts embed mlp",
                "experts mlp embed",
            ),
            outputs=("batch length embed", tokens, tokens, tokens, tokens, "groups"),
        )(x, is_token, key, jnp.asarray(part), self.router, self.gate, self.up, self.down)
        y, expert, kept, gate, entropy = outputs
        return y, Routing(expert, kept, gate, entropy, jnp.mean(balance_losses))


def _on_device(
    x, is_token, key, part, router, gate, up, down, *, group_tokens, capacity, jitter, parts
):
    """One device's part: its own tokens, its own experts."""
    grouped = x.reshape(-1, group_tokens, x.shape[-1])
    groups, experts = grouped.shape[0], router.shape[-1]
    first_group = (jax.lax.axis_index(BATCH_AXES) * parts + part) * groups
    numbers = first_group + jnp.arange(groups)
    wide = _jittered(grouped.astype(jnp.float32), jitter, key, numbers)
    logits = jnp.einsum("gte,en->gtn", wide, router, precision=jax.lax.Precision.HIGHEST)
    routes: Route = jax.vmap(lambda l, t: route(l, t, capacity))(  # noqa: E741
        logits, is_token.reshape(groups, group_tokens)
    )
    slots = jax.vmap(lambda r: token_of_slot(r, experts, capacity))(routes)
    dispatched = jax.vmap(lambda g, s: g.at[s].get(mode="fill", fill_value=0))(grouped, slots)
    received = jax.lax.all_to_all(dispatched, "expert", split_axis=1, concat_axis=0, tiled=True)
    processed = _experts(checkpoint_name(received, EXCHANGED), gate, up, down)
    returned = jax.lax.all_to_all(processed, "expert", split_axis=0, concat_axis=1, tiled=True)
    returned = checkpoint_name(returned, EXCHANGED)
    combined = jax.vmap(lambda y, r: y.at[r.expert, r.slot].get(mode="fill", fill_value=0))(
        returned, routes
    )
    combined = combined * routes.gate[..., None].astype(x.dtype)
    shape = is_token.shape
    return (
        combined.reshape(x.shape),
        routes.expert.reshape(shape),
        routes.kept.reshape(shape),
        routes.gate.reshape(shape),
        routes.entropy_nats.reshape(shape),
        routes.balance_loss,
    )


def _experts(
    x: Float[Array, "groups experts capacity embed"],
    gate: Float[Array, "experts embed part"] | None,
    up: Float[Array, "experts embed part"],
    down: Float[Array, "experts part embed"],
) -> Float[Array, "groups experts capacity embed"]:
    """Applies each expert to its slots; each device of the model axis holds a part of the width."""
    groups, experts, capacity, embed = x.shape
    rows = jnp.moveaxis(x, 1, 0).reshape(experts, groups * capacity, embed)
    hidden = activated(
        None if gate is None else jnp.einsum("nre,nem->nrm", rows, gate.astype(x.dtype)),
        jnp.einsum("nre,nem->nrm", rows, up.astype(x.dtype)),
    )
    out = jax.lax.psum(jnp.einsum("nrm,nme->nre", hidden, down.astype(x.dtype)), "model")
    return jnp.moveaxis(out.reshape(experts, groups, capacity, embed), 0, 1)


def _jittered(
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""],
    numbers: Int[Array, " groups"],
) -> Float[Array, "groups tokens embed"]:
    """Multiplies by U(1 - jitter, 1 + jitter); each group's noise depends on its number only."""
    if jitter == 0.0:
        return x
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    noise = jax.vmap(
        lambda key: jax.random.uniform(key, x.shape[1:], minval=1 - jitter, maxval=1 + jitter)
    )(keys)
    return x * noise
