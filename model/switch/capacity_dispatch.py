"""Dispatch with capacity: each expert takes a fixed number of tokens per group, the rest drop.

Source: Switch Transformer, section 2.2; `model/switch/__init__.py` has a worked example.

    into buffers -> all-to-all -> own experts -> sum over `model` -> all-to-all -> out of buffers

Shapes are static and every expert does the same work, whatever the router decides. Buffers are
filled and read by index, in the backward pass too: the reference's one-hot products were measured
to add half the layer's time again.

Buffer priority: all top-1 assignments before all top-2, then by token position.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding.exchanges import device_index, exchange, sum_over_model
from model.sharding.layouts import EXPERT_AXES
from model.switch.experts import Experts
from model.switch.sort_by_expert import sort_by_expert


class Slots(NamedTuple):
    """The places of one group's assignments in the experts' buffers, and the inverse.

    Assignments are numbered by priority: choice * tokens + token.

    Attributes:
        position: number of assignments of the same expert that have priority over each one.
        slot: expert slot of each assignment; the number of slots if it has none.
        assignment: assignment in each expert slot; the number of assignments if it is empty.
    """

    position: Int[Array, "tokens top_k"]
    slot: Int[Array, "top_k tokens"]
    assignment: Int[Array, "experts capacity"]


def capacity_dispatch(
    x: Float[Array, "groups tokens embed"],
    expert_index: Int[Array, "groups tokens top_k"],
    experts: Experts,
    capacity: int,
) -> tuple[Float[Array, "groups tokens top_k embed"], Bool[Array, "groups tokens top_k"]]:
    """Computes every assignment that finds room in its expert's buffer.

    Args:
        x: tokens of this device.
        expert_index: experts of each token; `experts.total` for padding.
        experts: experts of this device.
        capacity: tokens per expert and group.

    Returns:
        Expert outputs, zero for dropped assignments; and which assignments were kept.
    """
    slots = jax.vmap(lambda index: assign_slots(index, experts.total, capacity))(expert_index)
    received = exchange(jax.vmap(_into_buffers)(x, slots), split=1, concatenate=0)
    outputs = own_experts(received, experts)
    returned = exchange(outputs, split=0, concatenate=1)
    y = jax.vmap(_out_of_buffers)(returned, slots)
    return y, (slots.position < capacity) & (expert_index < experts.total)


def assign_slots(expert_index: Int[Array, "tokens top_k"], experts: int, capacity: int) -> Slots:
    """Assigns each expert's slots to its first assignments by priority; `experts` is padding."""
    by_priority = expert_index.T.reshape(-1)
    by_expert = sort_by_expert(by_priority, experts)
    offsets = by_expert.offsets
    position = by_expert.rank - offsets.at[by_priority].get(mode="fill", fill_value=0)
    kept = (position < capacity) & (by_priority < experts)
    slot = jnp.where(kept, by_priority * capacity + position, experts * capacity)
    along = jnp.arange(capacity)
    assignment = by_expert.order.at[offsets[:, None] + along].get(mode="clip")
    filled = along < by_expert.group_sizes[:, None]
    return Slots(
        position=position.reshape(expert_index.T.shape).T,
        slot=slot.reshape(expert_index.T.shape),
        assignment=jnp.where(filled, assignment, expert_index.size),
    )


def _into_buffers(
    x: Float[Array, "tokens embed"], slots: Slots
) -> Float[Array, "experts capacity embed"]:
    """Copies the tokens of one group into the experts' buffers; empty slots are zero."""
    top_k, tokens = slots.slot.shape
    is_filled = slots.assignment < top_k * tokens
    token = jnp.where(is_filled, slots.assignment % tokens, tokens)
    buffers = gather_rows(x, token.reshape(-1), slots.slot.T)
    return buffers.reshape(*slots.assignment.shape, -1)


def _out_of_buffers(
    buffers: Float[Array, "experts capacity embed"], slots: Slots
) -> Float[Array, "tokens top_k embed"]:
    """Copies each assignment's row out of one group's buffers; dropped ones are zero."""
    rows = buffers.reshape(-1, buffers.shape[-1])
    y = gather_rows(rows, slots.slot.reshape(-1), slots.assignment.reshape(-1, 1))
    return jnp.moveaxis(y.reshape(*slots.slot.shape, -1), 0, 1)


@jax.custom_vjp
def gather_rows(
    rows: Float[Array, "rows embed"],
    source: Int[Array, " places"],
    destinations: Int[Array, "rows copies"],
) -> Float[Array, "places embed"]:
    """Returns row `source[i]` at each place i; zero where that is not a row.

    The gradient of a row is the sum over its `destinations`, so it is read by index too. JAX's own
    is a scatter-add, which a TPU runs as a sort and GPUs with atomics.

    Args:
        rows: rows to copy.
        source: row of each place.
        destinations: places of each row, the inverse of `source`; others are out of range.
    """
    return rows.at[source].get(mode="fill", fill_value=0)


def _gather_forward(rows: Array, source: Array, destinations: Array) -> tuple[Array, Array]:
    return gather_rows(rows, source, destinations), destinations


def _gather_backward(destinations: Array, cotangent: Array) -> tuple[Array, None, None]:
    copies = cotangent.at[destinations].get(mode="fill", fill_value=0)
    return jnp.sum(copies, axis=1), None, None


gather_rows.defvjp(_gather_forward, _gather_backward)


def own_experts(
    received: Float[Array, "groups own_experts capacity embed"], experts: Experts
) -> Float[Array, "groups own_experts capacity embed"]:
    """Applies this device's experts to all groups of its `expert` axis; sums over `model`."""
    groups, own, capacity, embed = received.shape
    rows = jnp.moveaxis(received, 1, 0).reshape(own, groups * capacity, embed)
    partial = experts(rows, jnp.matmul, _row_ids(groups, capacity, experts))
    outputs = sum_over_model(partial)
    return jnp.moveaxis(outputs.reshape(own, groups, capacity, embed), 0, 1)


def _row_ids(groups: int, capacity: int, experts: Experts) -> Int[Array, "own_experts rows"]:
    """Returns the number in the whole batch of each row of this device's buffers."""
    own = len(experts.up)
    expert = device_index(EXPERT_AXES) * own + jnp.arange(own)
    group = _group_numbers(groups, experts)
    ids = group[:, None] * experts.total + expert[:, None, None]
    return (ids * capacity + jnp.arange(capacity)).reshape(own, groups * capacity)


def _group_numbers(groups: int, experts: Experts) -> Int[Array, " groups"]:
    """Returns the number in the whole batch of each group, in the order of its device.

    A pool on several devices is one group for all of them; then there is one microbatch.
    """
    of_device = max(groups // jax.lax.axis_size(EXPERT_AXES), 1)
    received = jnp.arange(groups)
    first = device_index(("replica", "data")) * groups + received - received % of_device
    return first * experts.microbatches + experts.microbatch * of_device + received % of_device
