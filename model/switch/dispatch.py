"""Dispatch: the way to the experts and back, with capacity or dropless.

With capacity it is `capacity_dispatch`, or `pooled_dispatch` where the groups of a pool are on
several devices, which gives the same result. Where all groups of a pool are on one device, they are
one group.

Dropless, every assignment is computed however uneven the load:

    sort by expert -> all-to-all -> own experts -> sum over `model` -> all-to-all -> token order

The idea is MegaBlocks' (Gale et al. 2022): sort assignments by expert and multiply groups of rows
of varying size. `lax.ragged_dot` is a grouped product where the backend has one; elsewhere it is a
dense product over all experts (seen on TPU v5e and v6e, GPUs and CPUs), so dropless is an option
and not the default. The all-to-all is padded to the worst case, in which all assignments of a
device go to one other device: memory grows with the `expert` axis. Experts' indices are a third
exchange forward, and rows' numbers a fourth with dropout. (Slices as in `pooled_dispatch` would not
pad what is sent, but what is received as well has no bound.)
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.config import RoutingConfig
from model.sharding.exchanges import device_index, exchange, sum_over_model
from model.sharding.layouts import BATCH_AXES, EXPERT_AXES
from model.switch.capacity import (
    Experts,
    SortedByExpert,
    capacity_dispatch,
    pooled_dispatch,
    sort_by_expert,
)


def dispatch(
    x: Float[Array, "groups tokens embed"],
    expert_index: Int[Array, "groups tokens top_k"],
    experts: Experts,
    routing: RoutingConfig,
) -> tuple[
    Float[Array, "groups tokens top_k embed"],
    Bool[Array, "groups tokens top_k"],
    Int[Array, " groups"],
]:
    """Computes assignments by their experts.

    Args:
        x: tokens of this device.
        expert_index: experts of each token; `experts.total` for padding.
        experts: experts of this device.
        routing: kind of dispatch, pools and capacity.

    Returns:
        Expert outputs, zero for dropped assignments; which assignments were kept; and expert slots,
        those of a pool counted with its first group.
    """
    if routing.dispatch == "dropless":
        y, kept = dropless_dispatch(x, expert_index, experts)
        return y, kept, jnp.sum(kept, axis=(1, 2))
    y, kept = _dispatch_with_capacity(x, expert_index, experts, routing)
    group = device_index(EXPERT_AXES) * len(x) + jnp.arange(len(x))
    is_first = group % routing.pooled_groups == 0
    return y, kept, jnp.where(is_first, experts.total * routing.capacity, 0)


def _dispatch_with_capacity(
    x: Float[Array, "groups tokens embed"],
    expert_index: Int[Array, "groups tokens top_k"],
    experts: Experts,
    routing: RoutingConfig,
) -> tuple[Float[Array, "groups tokens top_k embed"], Bool[Array, "groups tokens top_k"]]:
    """Computes the assignments that find room, the pools being on this device or on several."""
    *shape, top_k = expert_index.shape
    groups, embed = shape[0], x.shape[-1]
    if (pooled := routing.pooled_groups) > groups:
        flat = x.reshape(-1, embed), expert_index.reshape(-1, top_k)
        y, kept = pooled_dispatch(*flat, experts, routing.capacity, pooled // groups)
    else:
        pools = groups // pooled
        merged = x.reshape(pools, -1, embed), expert_index.reshape(pools, -1, top_k)
        y, kept = capacity_dispatch(*merged, experts, routing.capacity)
    return y.reshape(*shape, top_k, embed), kept.reshape(*shape, top_k)


def dropless_dispatch(
    x: Float[Array, "groups tokens embed"],
    expert_index: Int[Array, "groups tokens top_k"],
    experts: Experts,
) -> tuple[Float[Array, "groups tokens top_k embed"], Bool[Array, "groups tokens top_k"]]:
    """Computes every assignment.

    Args:
        x: tokens of this device.
        expert_index: experts of each token; `experts.total` for padding.
        experts: experts of this device.

    Returns:
        Expert outputs, zero for padding; and which assignments are of real tokens.
    """
    own, top_k = experts.up.shape[0], expert_index.shape[-1]
    flat_index = expert_index.reshape(-1)
    by_expert = sort_by_expert(flat_index, experts.total)
    assignment = _sent_assignments(by_expert, own)
    rows = x.reshape(-1, x.shape[-1]).at[assignment // top_k].get(mode="fill", fill_value=0)
    index = flat_index.at[assignment].get(mode="fill", fill_value=experts.total)
    part = device_index(BATCH_AXES) * experts.microbatches + experts.microbatch
    row_id = part * flat_index.size + assignment
    outputs = _apply_own_experts(
        exchange(rows, split=0, concatenate=0),
        exchange(index, split=0, concatenate=0),
        exchange(row_id, split=0, concatenate=0),
        experts,
    )
    returned = exchange(outputs, split=0, concatenate=0)
    device = flat_index // own
    offset = by_expert.offsets[::own].at[device].get(mode="fill", fill_value=0)
    y = returned.at[device, by_expert.rank - offset].get(mode="fill", fill_value=0)
    return y.reshape(*expert_index.shape, -1), expert_index < experts.total


def _sent_assignments(by_expert: SortedByExpert, own: int) -> Int[Array, "devices assignments"]:
    """Returns the assignments to send to each device, padded with the number of assignments."""
    offsets = by_expert.offsets[::own]
    counts = jnp.sum(by_expert.group_sizes.reshape(-1, own), axis=-1)
    total = len(by_expert.order)
    along = jnp.arange(total)
    assignment = by_expert.order.at[offsets[:, None] + along].get(mode="clip")
    return jnp.where(along < counts[:, None], assignment, total)


def _apply_own_experts(
    received: Float[Array, "devices assignments embed"],
    expert_index: Int[Array, "devices assignments"],
    row_id: Int[Array, "devices assignments"],
    experts: Experts,
) -> Float[Array, "devices assignments embed"]:
    """Applies this device's experts to the rows received, padding last; sums over `model`."""
    own, embed = experts.up.shape[0], received.shape[-1]
    own_index = expert_index.reshape(-1) - device_index(EXPERT_AXES) * own
    by_expert = sort_by_expert(jnp.minimum(own_index, own), own)
    grouped_product = functools.partial(jax.lax.ragged_dot, group_sizes=by_expert.group_sizes)
    rows = received.reshape(-1, embed)[by_expert.order]
    partial = experts(rows, grouped_product, row_id.reshape(-1)[by_expert.order])
    return sum_over_model(partial)[by_expert.rank].reshape(received.shape)
