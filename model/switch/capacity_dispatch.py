"""Tokens to experts through a fixed number of slots: what is over an expert's capacity is dropped.

Switch Transformer, section 2.2. Shapes are static and the work is even, whatever the router does.
Slots are filled and emptied by index: the reference's one-hot products were measured to cost half
the layer again. Two all-to-alls, there and back.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding import exchange
from model.switch.experts import Experts
from model.switch.routing import sort_by_expert


def capacity_dispatch(
    x: Float[Array, "groups tokens embed"],
    expert: Int[Array, "groups tokens top_k"],
    experts: Experts,
    capacity: int,
) -> tuple[Float[Array, "groups tokens top_k embed"], Bool[Array, "groups tokens top_k"]]:
    """Runs every choice that finds a slot through its expert.

    Args:
        x: a device's tokens.
        expert: chosen by each; `experts.total` for none.
        experts: the device's own.
        capacity: slots of an expert in a group.

    Returns:
        Outputs, zero where there was no slot; and where there was one.
    """
    slot = jax.vmap(lambda one: position_in_expert(one, experts.total))(expert)
    kept = (slot < capacity) & (expert < experts.total)
    token = jax.vmap(lambda e, s: buffer_tokens(e, s, experts.total, capacity))(expert, slot)
    filled = jax.vmap(lambda x, token: x.at[token].get(mode="fill", fill_value=0))(x, token)
    received = exchange(filled, split=1, concatenate=0)
    groups, own, _, embed = received.shape
    rows = jnp.moveaxis(received, 1, 0).reshape(own, groups * capacity, embed)
    processed = experts(rows, jnp.matmul, _numbers(groups, own, capacity, experts.total))
    processed = jnp.moveaxis(processed.reshape(own, groups, capacity, embed), 0, 1)
    returned = exchange(processed, split=0, concatenate=1)
    y = jax.vmap(lambda y, *at: y.at[at].get(mode="fill", fill_value=0))(returned, expert, slot)
    return y, kept


def position_in_expert(
    expert: Int[Array, "tokens top_k"], experts: int
) -> Int[Array, "tokens top_k"]:
    """Returns each choice's place among its expert's: first choices first, then by position."""
    in_turn = expert.T.reshape(-1)
    line = sort_by_expert(in_turn, experts)
    slot = line.place - line.start.at[in_turn].get(mode="fill", fill_value=0)
    return slot.reshape(expert.T.shape).T


def buffer_tokens(
    expert: Int[Array, "tokens top_k"],
    slot: Int[Array, "tokens top_k"],
    experts: int,
    capacity: int,
) -> Int[Array, "experts capacity"]:
    """Returns which token sits in each slot; empty slots hold the number of tokens."""
    tokens = jnp.broadcast_to(jnp.arange(len(expert))[:, None], expert.shape)
    empty = jnp.full((experts, capacity), len(expert), jnp.int32)
    return empty.at[expert, slot].set(tokens, mode="drop", unique_indices=True)


def _numbers(groups: int, own: int, capacity: int, total: int) -> Int[Array, "experts rows"]:
    """Returns a number for each slot that a device's own experts have, the same on any mesh."""
    group = jax.lax.axis_index("data") * groups + jnp.arange(groups)
    expert = jax.lax.axis_index("expert") * own + jnp.arange(own)
    numbers = (group[:, None] * total + expert[:, None, None]) * capacity + jnp.arange(capacity)
    return numbers.reshape(own, groups * capacity)
