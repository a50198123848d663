"""The switch layer: each token through one of many experts, at the cost of one.

    jitter -> router logits -> top-k and gates                         routing.py
    -> all-to-all -> own experts -> sum over `model` -> all-to-all     dispatch.py
    -> weigh by gates and add

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
A shared expert is a dense feed-forward whose output is added for every token.

Two all-to-alls of tokens forward, two backward (dropless and pools also exchange integers), and no
all-gather of activations: only weights are gathered (`gathered_experts`). Routing groups are
consecutive tokens of the batch; their size comes from the config and never from the mesh, as does
the number of groups that share experts' capacity.

A device stores 1/data of each of its experts' matrices in float32. They are rounded to the tokens'
type before they are gathered, so half the bytes cross a link. Each device's gradient has that type,
as the product makes it, and is reduce-scattered in float32: a sum of one term per device in
bfloat16 would lose digits that the optimizer keeps. The router is used, gathered and summed in
float32.

The gate's gradient is the router's only signal from the loss, a sum over the width of the network.
It is added in float32: in bfloat16 each of 768 to 4,096 additions rounds, which was measured to
leave an error of 1 % of the gradient.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Key

from model.config import ModelConfig, RoutingConfig, SwitchConfig
from model.layers.feed_forward import NO_DROPOUT, Dropout, FeedForward
from model.layers.products import kernel
from model.remat import MULTIPLIED
from model.sharding.exchanges import device_index, over_devices, sum_across
from model.sharding.layouts import BATCH_AXES, EXPERT_AXES, declared_names
from model.switch.capacity import Experts
from model.switch.dispatch import dispatch
from model.switch.routing import margin_counts, route, with_jitter

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
        expert_slots: capacity of all experts, of each pool at its first group; dropless: number of
            assignments.
        probability: sum of probabilities over each group's real tokens; None unless the balance
            loss is over the batch.
        margins: counted margins of each device's tokens; None unless they are to be counted.
    """

    expert_index: Int[Array, "batch length top_k"]
    kept: Bool[Array, "batch length top_k"]
    gate: Float[Array, "batch length top_k"]
    entropy_nats: Float[Array, "batch length"]
    balance_loss: Float[Array, " groups"]
    z_loss: Float[Array, " groups"]
    expert_slots: Int[Array, " groups"]
    probability: Float[Array, "groups every_expert"] | None
    margins: Int[Array, "groups every_expert bins"] | None

    def over_groups(self) -> "Routing":
        """Returns the routing of stacked layers with sums over groups and devices.

        Once for all layers: a sum per layer would cost the hops of an all-reduce in each.
        """
        return self._replace(
            balance_loss=jnp.sum(self.balance_loss, axis=-1),
            z_loss=jnp.sum(self.z_loss, axis=-1),
            expert_slots=jnp.sum(self.expert_slots, axis=-1),
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
            scale = config.initialization_scale
            keys = jax.random.split(key, switch.experts)
            return jax.vmap(lambda key: kernel(shape, fan_in=shape[0], scale=scale, key=key))(keys)

        router = jax.random.normal(router_key, (config.embed, switch.experts))
        gated = config.feed_forward == "gated-gelu"
        shared = None
        if switch.shared_mlp > 0:
            shared_config = replace(config, mlp=switch.shared_mlp)
            shared = FeedForward.init(shared_config, key=jax.random.fold_in(key, SHARED))
        return SwitchLayer(
            router=switch.router_scale * router,
            gate=draw(keys[0], (config.embed, config.mlp)) if gated else None,
            up=draw(keys[1], (config.embed, config.mlp)),
            down=switch.expert_output_scale * draw(keys[2], (config.mlp, config.embed)),
            expert_bias=jnp.zeros(switch.experts) if switch.has_biases else None,
            shared=shared,
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
            outputs=("batch length embed", declared_names(Routing)),
        )
        weights = self.router, self.gate, self.up, self.down, self.expert_bias
        y, routed = run(DeviceInputs(x, is_token, *weights, key, jnp.asarray(microbatch)))
        return y if self.shared is None else y + self.shared(x, mesh, dropout), routed


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


def on_device(
    inputs: DeviceInputs, *, routing: RoutingConfig, microbatches: int
) -> tuple[Float[Array, "batch length embed"], Routing]:
    """Routes, dispatches and combines the tokens of one device."""
    x = inputs.x.reshape(-1, routing.group_tokens, inputs.x.shape[-1])
    is_token = inputs.is_token.reshape(x.shape[:2])
    jitter_key, dropout_key = (None, None) if inputs.key is None else jax.random.split(inputs.key)

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
    gate_matrix = None
    if inputs.gate_matrix is not None:
        gate_matrix = gathered_experts(inputs.gate_matrix, 1, x.dtype)
    experts = Experts(
        gate_matrix,
        gathered_experts(inputs.up, 1, x.dtype),
        gathered_experts(inputs.down, 2, x.dtype),
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
    per_token = (*inputs.is_token.shape, routing.top_k)
    return weighted_sum(y, gate).reshape(inputs.x.shape), Routing(
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
    noisy = with_jitter(x.astype(jnp.float32), jitter, key, first_group)
    router = gathered_router(inputs.router)
    logits = jnp.einsum("gte,en->gtn", noisy, router, precision=jax.lax.Precision.HIGHEST)
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
        margins = margin_counts(scores, expert_index, is_token)[None]
    return probability, margins


def gathered_router(stored: Float[Array, "embed_shard experts"]) -> Float[Array, "embed all"]:
    """Returns the whole router, which every device applies to its own tokens."""
    part = _in_every_slice(stored.dtype, stored)
    return _gather(_gather(part, ("data",), dimension=0), EXPERT_AXES, dimension=1)


def gathered_experts(
    stored: Float[Array, "experts *part"], dimension: int, dtype: DTypeLike
) -> Float[Array, "experts *whole"]:
    """Returns the whole matrices of this device's experts, of which it stores a part.

    Args:
        stored: part in float32.
        dimension: dimension that the `data` axis splits.
        dtype: type of the result.
    """
    return _rounded_and_gathered(dimension, dtype, _in_every_slice(dtype, stored))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rounded_and_gathered(dimension: int, dtype: DTypeLike, stored: Array) -> Array:
    return _gathered_forward(dimension, dtype, stored)[0]


def _gathered_forward(dimension: int, dtype: DTypeLike, stored: Array) -> tuple[Array, None]:
    return _gather(stored.astype(dtype), ("data",), dimension=dimension), None


def _gathered_backward(dimension: int, dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    cotangent = cotangent.astype(jnp.float32)
    if jax.lax.axis_size("data") > 1:
        cotangent = jax.lax.psum_scatter(cotangent, "data", scatter_dimension=dimension, tiled=True)
    return (cotangent,)


_rounded_and_gathered.defvjp(_gathered_forward, _gathered_backward)


def _gather(part: Array, axes: tuple[str, ...], *, dimension: int) -> Array:
    """Joins the parts of devices along mesh axes; JAX's transpose is a reduce-scatter."""
    if jax.lax.axis_size(axes) == 1:
        return part
    return jax.lax.all_gather(part, axes, axis=dimension, tiled=True)


# JAX's own sum over slices would be of whole matrices, before the sum within each slice leaves a
# part of them.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_every_slice(dtype: DTypeLike, stored: Array) -> Array:
    """Returns a parameter that each slice has; its gradients cross the slices in `dtype`."""
    return _slice_forward(dtype, stored)[0]


def _slice_forward(dtype: DTypeLike, stored: Array) -> tuple[Array, None]:
    if jax.lax.axis_size("replica") == 1:
        return stored, None
    return jax.lax.pcast(stored, "replica", to="varying"), None


def _slice_backward(dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    return (sum_across(cotangent, dtype, ("replica",)),)


_in_every_slice.defvjp(_slice_forward, _slice_backward)


@jax.custom_vjp
def weighted_sum(
    y: Float[Array, "groups tokens top_k embed"], gate: Float[Array, "groups tokens top_k"]
) -> Float[Array, "groups tokens embed"]:
    """Returns the sum of each token's expert outputs, weighted by its gates."""
    return _weighted_sum_forward(y, gate)[0]


def _weighted_sum_forward(y: Array, gate: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.sum(y * gate[..., None].astype(y.dtype), axis=2), (y, gate)


def _weighted_sum_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    y, gate = kept
    to_all = cotangent[:, :, None]
    terms = y.astype(jnp.float32) * to_all.astype(jnp.float32)
    return gate[..., None].astype(y.dtype) * to_all, jnp.sum(terms, axis=-1)


weighted_sum.defvjp(_weighted_sum_forward, _weighted_sum_backward)
