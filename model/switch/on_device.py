"""The switch layer as one device runs it, with explicit communication.

    jitter -> router logits -> top-k and gates                    routing.py
    -> all-to-all -> own experts -> sum over `model` -> all-to-all     dispatch.py
    -> weigh by gates and add                                     combine.py

Two all-to-alls of tokens forward, two backward (dropless and pools also exchange integers), and no
all-gather of activations: only weights are gathered (`gathered_weights.py`). Routing groups are
consecutive tokens of the batch; their size comes from the config and never from the mesh, as does
the number of groups that share experts' capacity.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, Key

from model.config import RoutingConfig
from model.remat import MULTIPLIED
from model.sharding.exchanges import device_index
from model.sharding.layouts import BATCH_AXES
from model.switch.combine import weighed
from model.switch.dispatch import dispatch
from model.switch.experts import Experts
from model.switch.gathered_weights import gathered, gathered_router
from model.switch.margins import counted_margins
from model.switch.noise import jittered, noise_keys
from model.switch.routing import route


class DeviceInputs(NamedTuple):
    """The inputs of one device; dimension names also define how the whole arrays are split."""

    x: Float[Array, "batch length embed"]
    is_token: Bool[Array, "batch length"]
    router: Float[Array, "embed_shard experts"]
    gate_matrix: Float[Array, "experts embed_shard mlp"] | None
    up: Float[Array, "experts embed_shard mlp"]
    down: Float[Array, "experts mlp embed_shard"]
    expert_bias: Float[Array, " every_expert"] | None
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
    probability: Float[Array, "groups every_expert"] | None
    margins: Int[Array, "groups every_expert bins"] | None


def on_device(inputs: DeviceInputs, *, routing: RoutingConfig, microbatches: int) -> DeviceOutputs:
    """Routes, dispatches and combines the tokens of one device."""
    x = inputs.x.reshape(-1, routing.group_tokens, inputs.x.shape[-1])
    is_token = inputs.is_token.reshape(x.shape[:2])
    jitter_key, dropout_key = noise_keys(inputs.key)

    # Route.
    logits = _router_logits(inputs, x, routing.jitter, jitter_key, microbatches)
    choose = functools.partial(route, top_k=routing.top_k, bias=inputs.expert_bias)
    routed = jax.vmap(choose)(logits, is_token)
    probability, margins = _balancing_sums(
        logits, routed.expert_index, is_token, inputs.expert_bias, routing
    )

    # Dispatch to the experts and back.
    total = logits.shape[-1]
    expert_index = jnp.where(is_token[..., None], routed.expert_index, total)
    experts = Experts(
        *_expert_weights(inputs),
        total=total,
        dropout_rate=routing.expert_dropout,
        key=dropout_key,
        microbatch=inputs.microbatch,
        microbatches=microbatches,
    )
    y, kept, expert_slots = dispatch(x, expert_index, experts, routing)

    # Combine.
    gate = routed.gate * kept
    tokens = jnp.sum(is_token, axis=1)
    combined = weighed(y, gate)
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
        probability=probability,
        margins=margins,
    )


def _router_logits(
    inputs: DeviceInputs,
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""] | None,
    microbatches: int,
) -> Float[Array, "groups tokens experts"]:
    """Returns the logits in float32, of tokens with their group's jitter."""
    device = device_index(BATCH_AXES)
    first_group = (device * microbatches + inputs.microbatch) * len(x)
    seen = jittered(x.astype(jnp.float32), jitter, key, first_group)
    router = gathered_router(inputs.router)
    logits = jnp.einsum("gte,en->gtn", seen, router, precision=jax.lax.Precision.HIGHEST)
    return checkpoint_name(logits, MULTIPLIED)


def _balancing_sums(
    logits: Float[Array, "groups tokens experts"],
    expert_index: Int[Array, "groups tokens top_k"],
    is_token: Bool[Array, "groups tokens"],
    bias: Float[Array, " experts"] | None,
    routing: RoutingConfig,
) -> tuple[Float[Array, "groups experts"] | None, Int[Array, "1 experts bins"] | None]:
    """Returns sums of probabilities by group, and counted margins: what the config balances by."""
    probability, margins = None, None
    if routing.balance_loss_over == "batch":
        probability = jnp.sum(jax.nn.softmax(logits) * is_token[..., None], axis=1)
    if routing.counts_margins:
        assert bias is not None  # it follows from them
        scores = jax.lax.stop_gradient(logits) + bias
        margins = counted_margins(scores, expert_index, is_token)[None]
    return probability, margins


def _expert_weights(inputs: DeviceInputs) -> tuple[Array | None, Array, Array]:
    """Returns the gate matrix, up and down of this device's experts in the tokens' type."""
    dtype = inputs.x.dtype
    gate_matrix = None if inputs.gate_matrix is None else gathered(inputs.gate_matrix, 1, dtype)
    return gate_matrix, gathered(inputs.up, 1, dtype), gathered(inputs.down, 2, dtype)
