"""Tokens to experts without a capacity: every choice is honoured, however uneven.

The idea is MegaBlocks' (Gale et al. 2022): sort choices by expert and multiply ragged blocks of
rows. `lax.ragged_dot` is a grouped product where the backend has one; elsewhere it is a dense one
over all experts (seen on TPU v5e and v6e, GPUs and CPUs), so this is an option and not the default.
The exchange is padded to the worst case, in which all choices of a device go to one other: memory
grows with the `expert` axis. (`ragged_all_to_all` would not pad, and XLA:CPU does not have it.)
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding import BATCH_AXES, exchange
from model.switch.experts import Experts
from model.switch.routing import sort_by_expert


def dropless_dispatch(
    x: Float[Array, "groups tokens embed"],
    expert: Int[Array, "groups tokens top_k"],
    experts: Experts,
) -> tuple[Float[Array, "groups tokens top_k embed"], Bool[Array, "groups tokens top_k"]]:
    """Runs every choice through its expert.

    Args:
        x: a device's tokens.
        expert: chosen by each; `experts.total` for none.
        experts: the device's own.

    Returns:
        Outputs, zero for padding; and where there was a choice.
    """
    own, asked = experts.up.shape[0], expert.reshape(-1)
    line = sort_by_expert(asked, experts.total)
    first = line.start[::own]  # of the choices that go to each device
    sent = _sent(line.order, first, jnp.sum(line.waiting.reshape(-1, own), axis=-1))
    token = sent // expert.shape[-1]
    rows = x.reshape(-1, x.shape[-1]).at[token].get(mode="fill", fill_value=0)
    label = asked.at[sent].get(mode="fill", fill_value=experts.total)
    number = jax.lax.axis_index(BATCH_AXES) * asked.size + sent
    processed = _by_own_experts(
        exchange(rows, split=0, concatenate=0),
        exchange(label, split=0, concatenate=0),
        exchange(number, split=0, concatenate=0),
        experts,
    )
    returned = exchange(processed, split=0, concatenate=0)
    device = asked // own
    place = line.place - first.at[device].get(mode="fill", fill_value=0)
    y = returned.at[device, place].get(mode="fill", fill_value=0)
    return y.reshape(*expert.shape, -1), expert < experts.total


def _sent(
    order: Int[Array, " assignments"], first: Int[Array, " devices"], count: Int[Array, " devices"]
) -> Int[Array, "devices assignments"]:
    """Returns which choices each device is sent; the number of choices where nothing is sent."""
    along = jnp.arange(len(order))
    choice = order.at[first[:, None] + along].get(mode="clip")
    return jnp.where(along < count[:, None], choice, len(order))


def _by_own_experts(
    received: Float[Array, "devices assignments embed"],
    label: Int[Array, "devices assignments"],
    number: Int[Array, "devices assignments"],
    experts: Experts,
) -> Float[Array, "devices assignments embed"]:
    """Applies a device's experts to what it was sent; rows without one come last, unread."""
    own, embed = experts.up.shape[0], received.shape[-1]
    mine = label.reshape(-1) - jax.lax.axis_index("expert") * own
    line = sort_by_expert(jnp.minimum(mine, own), own)
    product = functools.partial(jax.lax.ragged_dot, group_sizes=line.waiting)
    rows = received.reshape(-1, embed)[line.order]
    out = experts(rows, product, number.reshape(-1)[line.order])
    return out[line.place].reshape(received.shape)
