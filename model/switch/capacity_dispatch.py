"""Dispatch with capacity: each expert takes a fixed number of tokens per group, the rest drop.

Source: Switch Transformer, section 2.2; `model/switch/__init__.py` has a worked example.

    into buffers -> all-to-all -> own experts -> sum over `model` -> all-to-all -> out of buffers

Shapes are static and every expert does the same work, whatever the router decides. Buffers are
filled and read by index: the reference's one-hot products were measured to add half the layer's
time again.

Buffer priority: all top-1 assignments before all top-2, then by token position.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding import exchange, sum_over_model
from model.switch.experts import Experts
from model.switch.sort_by_expert import sort_by_expert


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
    fill = functools.partial(_fill_buffers, experts=experts.total, capacity=capacity)
    buffers, position = jax.vmap(fill)(x, expert_index)
    received = exchange(buffers, split=1, concatenate=0)
    outputs = _own_experts(received, experts)
    returned = exchange(outputs, split=0, concatenate=1)
    y = jax.vmap(lambda buffers, *at: buffers.at[at].get(mode="fill", fill_value=0))(
        returned, expert_index, position
    )
    return y, (position < capacity) & (expert_index < experts.total)


def _fill_buffers(
    x: Float[Array, "tokens embed"],
    expert_index: Int[Array, "tokens top_k"],
    experts: int,
    capacity: int,
) -> tuple[Float[Array, "experts capacity embed"], Int[Array, "tokens top_k"]]:
    """Copies the tokens of one group into the experts' buffers; returns also their positions."""
    position = position_in_expert(expert_index, experts)
    token = buffer_tokens(expert_index, position, experts, capacity)
    return x.at[token].get(mode="fill", fill_value=0), position


def _own_experts(
    received: Float[Array, "groups own_experts capacity embed"], experts: Experts
) -> Float[Array, "groups own_experts capacity embed"]:
    """Applies this device's experts to all groups of its `expert` axis; sums over `model`."""
    groups, own, capacity, embed = received.shape
    rows = jnp.moveaxis(received, 1, 0).reshape(own, groups * capacity, embed)
    partial = experts(rows, jnp.matmul, _row_ids(groups, own, capacity, experts.total))
    outputs = sum_over_model(partial)
    return jnp.moveaxis(outputs.reshape(own, groups, capacity, embed), 0, 1)


def position_in_expert(
    expert_index: Int[Array, "tokens top_k"], experts: int
) -> Int[Array, "tokens top_k"]:
    """Returns the number of assignments of the same expert that have priority over each one."""
    by_priority = expert_index.T.reshape(-1)
    by_expert = sort_by_expert(by_priority, experts)
    position = by_expert.rank - by_expert.offsets.at[by_priority].get(mode="fill", fill_value=0)
    return position.reshape(expert_index.T.shape).T


def buffer_tokens(
    expert_index: Int[Array, "tokens top_k"],
    position: Int[Array, "tokens top_k"],
    experts: int,
    capacity: int,
) -> Int[Array, "experts capacity"]:
    """Returns the token in each expert slot; empty ones hold the number of tokens."""
    tokens = jnp.broadcast_to(jnp.arange(len(expert_index))[:, None], expert_index.shape)
    empty = jnp.full((experts, capacity), len(expert_index), jnp.int32)
    return empty.at[expert_index, position].set(tokens, mode="drop", unique_indices=True)


def _row_ids(groups: int, own: int, capacity: int, total: int) -> Int[Array, "own_experts rows"]:
    """Returns an id per row of this device's buffers that is the same on any mesh."""
    group = jax.lax.axis_index("data") * groups + jnp.arange(groups)
    expert = jax.lax.axis_index("expert") * own + jnp.arange(own)
    ids = (group[:, None] * total + expert[:, None, None]) * capacity + jnp.arange(capacity)
    return ids.reshape(own, groups * capacity)
