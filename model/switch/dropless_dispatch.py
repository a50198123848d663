"""Dispatch without capacity: every assignment is computed, however uneven the load.

    sort by expert -> all-to-all -> own experts -> sum over `model` -> all-to-all -> token order

The idea is MegaBlocks' (Gale et al. 2022): sort assignments by expert and multiply groups of rows
of varying size. `lax.ragged_dot` is a grouped product where the backend has one; elsewhere it is a
dense product over all experts (seen on TPU v5e and v6e, GPUs and CPUs), so dropless is an option
and not the default. The all-to-all is padded to the worst case, in which all assignments of a
device go to one other device: memory grows with the `expert` axis. Experts' indices are a third
exchange forward, and rows' numbers a fourth with dropout. (Slices as in
`pooled_dispatch.py` would not pad what is sent, but what is received as well has no bound.)
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding.exchanges import device_index, exchange, sum_over_model
from model.sharding.layouts import BATCH_AXES, EXPERT_AXES
from model.switch.experts import Experts
from model.switch.sort_by_expert import SortedByExpert, sort_by_expert


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
    outputs = _own_experts(
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


def _own_experts(
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
