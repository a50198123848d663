"""The switch layer: each token through one of many experts, at the cost of one.

    jitter -> router logits -> top-k and gates                         routing.py
    -> all-to-all -> own experts -> sum over `model` -> all-to-all     dispatch.py
    -> weigh by gates and add

Source: Switch Transformer (Fedus et al. 2022), sections 2.1 and 5; `flaxformer/architectures/moe`.
A shared expert is a dense feed-forward whose output is added for every token.

Two all-to-alls of tokens forward, two backward (dropless and pools also exchange integers), and no
all-gather of activations: only weights are gathered (`gathered`). Routing groups are
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
from typing import Any, NamedTuple

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
from model.switch.routing import counted_margins, jittered, noise_keys, route


def _weighed_value(
    y: Float[Array, "groups tokens top_k embed"], gate: Float[Array, "groups tokens top_k"]
) -> Float[Array, "groups tokens embed"]:
    """Returns each token's expert outputs, weighed by its gates."""
    return jnp.sum(y * gate[..., None].astype(y.dtype), axis=2)


def _weighed_forward(y: Array, gate: Array) -> tuple[Array, tuple[Array, Array]]:
    return _weighed_value(y, gate), (y, gate)


def _weighed_backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    y, gate = kept
    to_all = cotangent[:, :, None]
    terms = y.astype(jnp.float32) * to_all.astype(jnp.float32)
    return gate[..., None].astype(y.dtype) * to_all, jnp.sum(terms, axis=-1)


weighed: Any = jax.custom_vjp(_weighed_value)
weighed.defvjp(_weighed_forward, _weighed_backward)


def gathered_router(stored: Float[Array, "embed_shard experts"]) -> Float[Array, "embed all"]:
    """Returns the whole router, which every device applies to its own tokens."""
    part = _in_every_slice(stored.dtype, stored)
    return _gather(_gather(part, ("data",), dimension=0), EXPERT_AXES, dimension=1)


def gathered(
    stored: Float[Array, "experts *part"], dimension: int, dtype: DTypeLike
) -> Float[Array, "experts *whole"]:
    """Returns the whole matrices of this device's experts, of which it stores a part.

    Args:
        stored: part in float32.
        dimension: dimension that the `data` axis splits.
        dtype: type of the result.
    """
    return _rounded_and_gathered(dimension, dtype, _in_every_slice(dtype, stored))


def _gathered_value(dimension: int, dtype: DTypeLike, stored: Array) -> Array:
    return _gather(stored.astype(dtype), ("data",), dimension=dimension)


def _gathered_forward(dimension: int, dtype: DTypeLike, stored: Array) -> tuple[Array, None]:
    return _gathered_value(dimension, dtype, stored), None


def _gathered_backward(dimension: int, dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    cotangent = cotangent.astype(jnp.float32)
    if jax.lax.axis_size("data") > 1:
        cotangent = jax.lax.psum_scatter(cotangent, "data", scatter_dimension=dimension, tiled=True)
    return (cotangent,)


_rounded_and_gathered: Any = jax.custom_vjp(_gathered_value, nondiff_argnums=(0, 1))
_rounded_and_gathered.defvjp(_gathered_forward, _gathered_backward)


def _gather(part: Array, axes: tuple[str, ...], *, dimension: int) -> Array:
    """Joins the parts of devices along mesh axes; JAX's transpose is a reduce-scatter."""
    if jax.lax.axis_size(axes) == 1:
        return part
    return jax.lax.all_gather(part, axes, axis=dimension, tiled=True)


def _of_slice(dtype: DTypeLike, stored: Array) -> Array:
    if jax.lax.axis_size("replica") == 1:
        return stored
    return jax.lax.pcast(stored, "replica", to="varying")


def _summed(dtype: DTypeLike, _: None, cotangent: Array) -> tuple[Array]:
    return (sum_across(cotangent, dtype, ("replica",)),)


# A parameter that each slice has. JAX's own sum over slices would be of whole matrices, before the
# sum within each slice leaves a part of them.
_in_every_slice: Any = jax.custom_vjp(_of_slice, nondiff_argnums=(0,))
_in_every_slice.defvjp(lambda dtype, stored: (_of_slice(dtype, stored), None), _summed)


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
