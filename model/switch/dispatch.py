"""The way to the experts and back: which of three dispatches a device runs.

Where all groups of a pool are on one device, they are one group to `capacity_dispatch`. Where a
pool is on several devices, `pooled_dispatch` gives the same result.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.config import RoutingConfig
from model.sharding.exchanges import device_index
from model.sharding.layouts import EXPERT_AXES
from model.switch.capacity_dispatch import capacity_dispatch
from model.switch.dropless_dispatch import dropless_dispatch
from model.switch.experts import Experts
from model.switch.pooled_dispatch import pooled_dispatch

Dispatched = tuple[
    Float[Array, "groups tokens top_k embed"],
    Bool[Array, "groups tokens top_k"],
    Int[Array, " groups"],
]


def dispatch(
    x: Float[Array, "groups tokens embed"],
    expert_index: Int[Array, "groups tokens top_k"],
    experts: Experts,
    routing: RoutingConfig,
) -> Dispatched:
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
    y, kept = _with_capacity(x, expert_index, experts, routing)
    group = device_index(EXPERT_AXES) * len(x) + jnp.arange(len(x))
    is_first = group % routing.pooled_groups == 0
    return y, kept, jnp.where(is_first, experts.total * routing.capacity, 0)


def _with_capacity(
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
