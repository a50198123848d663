"""The sparse feed-forward: each token through one of many experts, at the cost of one.

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
The layer runs on every device's own tokens and says its communication out loud:

    choose experts in groups -> all-to-all -> own experts -> all-to-all -> weigh and add

Two all-to-alls forward, two backward, no gather of activations. Routing groups are consecutive
tokens of the batch, their number set by the config and never by the mesh. Which experts, says
`routing.py`; the way there and back is `slots.py`'s or, where nothing is dropped, `dropless.py`'s.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.config import ModelConfig, RoutingConfig, SwitchConfig
from model.layers.initialization import kernel
from model.sharding import BATCH_AXES, over_devices
from model.switch.capacity_dispatch import capacity_dispatch
from model.switch.dropless_dispatch import dropless_dispatch
from model.switch.experts import Experts
from model.switch.routing import choose


class Routing(NamedTuple):
    """What one switch layer did, token by token; unused fields cost nothing once compiled.

    Attributes:
        expert: the chosen experts, most probable first.
        kept: True where the choice was honoured; False over capacity, and for padding.
        gate: what an honoured choice counts, else 0.
        entropy_nats: of the router's distribution.
        balance_loss, z_loss: means over the routing groups.
        slots: of all experts in all groups; as many as were needed where nothing is dropped.
    """

    expert: Int[Array, "batch length top_k"]
    kept: Bool[Array, "batch length top_k"]
    gate: Float[Array, "batch length top_k"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, ""]
    z_loss: Float[Array, ""]
    slots: Int[Array, ""]


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

        router = jax.random.normal(router_key, (config.embed, switch.experts))
        return SwitchLayer(
            router=switch.router_scale * router,
            gate=(
                draw(keys[0], (config.embed, config.mlp))
                if config.feed_forward == "gated-gelu"
                else None
            ),
            up=draw(keys[1], (config.embed, config.mlp)),
            down=switch.expert_output_scale * draw(keys[2], (config.mlp, config.embed)),
        )

    def __call__(
        self,
        x: Float[Array, "batch length embed"],
        is_token: Bool[Array, "batch length"],
        routing: RoutingConfig,
        *,
        key: Key[Array, ""],
        mesh: Mesh,
        microbatch: Int[Array, ""] | int = 0,
        microbatches: int = 1,
    ) -> tuple[Float[Array, "batch length embed"], Routing]:
        """Sends every token through its experts; what was not honoured counts as zero.

        `part` of `parts` says which of each device's groups these are where a batch is computed in
        parts: a group keeps its number and so its jitter.
        """
        choices = "batch length top_k"
        y, expert, kept, gate, entropy, balance, z_loss, slots = over_devices(
            functools.partial(_on_device, routing=routing, microbatches=microbatches),
            mesh,
            inputs=(
                "batch length embed",
                "batch length",
                "",
                "",
                "embed any_experts",
                "experts embed mlp",
                "experts embed mlp",
                "experts mlp embed",
            ),
            outputs=(
                "batch length embed",
                choices,
                choices,
                choices,
                "batch length",
                "groups",
                "groups",
                "groups",
            ),
        )(x, is_token, key, jnp.asarray(microbatch), self.router, self.gate, self.up, self.down)
        losses = jnp.mean(balance), jnp.mean(z_loss)
        return y, Routing(expert, kept, gate, entropy, *losses, jnp.sum(slots))


def _on_device(
    x,
    is_token,
    key,
    microbatch,
    router,
    gate,
    up,
    down,
    *,
    routing: RoutingConfig,
    microbatches: int,
):
    """One device's part: its own tokens, its own experts."""
    total = router.shape[-1]
    jitter_key, dropout_key = jax.random.split(key)
    if microbatches > 1:  # expert dropout need not be the whole batch's; it is off in pretraining
        dropout_key = jax.random.fold_in(dropout_key, microbatch)
    grouped = x.reshape(-1, routing.group_tokens, x.shape[-1])
    real = is_token.reshape(grouped.shape[:2])
    first_group = (jax.lax.axis_index(BATCH_AXES) * microbatches + microbatch) * len(grouped)
    wide = _jittered(grouped.astype(jnp.float32), routing.jitter, jitter_key, first_group)
    logits = jnp.einsum("gte,en->gtn", wide, router, precision=jax.lax.Precision.HIGHEST)
    chosen = jax.vmap(functools.partial(choose, top_k=routing.top_k))(logits, real)
    asked = jnp.where(real[..., None], chosen.expert, total)
    experts = Experts(gate, up, down, total, routing.expert_dropout, dropout_key)
    if routing.dispatch == "dropless":
        y, kept = dropless_dispatch(grouped, asked, experts)
        slots = jnp.sum(kept, axis=(1, 2))
    else:
        y, kept = capacity_dispatch(grouped, asked, experts, routing.capacity)
        slots = jnp.full(len(kept), total * routing.capacity)
    weight = chosen.gate * kept
    combined = jnp.sum(y * weight[..., None].astype(x.dtype), axis=2)
    in_rows = (*is_token.shape, routing.top_k)
    return (
        combined.reshape(x.shape),
        chosen.expert.reshape(in_rows),
        kept.reshape(in_rows),
        weight.reshape(in_rows),
        chosen.entropy_nats.reshape(is_token.shape),
        chosen.balance_loss,
        chosen.z_loss,
        slots,
    )


def _jittered(
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""],
    first_group: Int[Array, ""],
) -> Float[Array, "groups tokens embed"]:
    """Multiplies by U(1 - jitter, 1 + jitter); each group's noise depends on its number only."""
    if jitter == 0.0:
        return x
    numbers = first_group + jnp.arange(len(x))
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    noise = jax.vmap(
        lambda key: jax.random.uniform(key, x.shape[1:], minval=1 - jitter, maxval=1 + jitter)
    )(keys)
    return x * noise
