"""Dispatch with the capacity of a pool whose tokens are on several devices.

With thousands of devices each has a few hundred tokens, fewer than there are experts. Were capacity
counted over them alone, nearly every slot would stay empty (92 % for Switch-C on 4,096 chips). So
it is counted over all tokens of a pool, in the order of devices:

    counts per expert -> all-to-all -> places -> all-to-all
    -> own slices -> own experts -> sum over `model` -> slices back

A device first learns the place of its first token in each expert's buffer. Then it sends the tokens
that have one, in one slice per expert, and nothing else: there is no buffer per pair of devices
that could be empty or full. The result is that of one device with all the pool's tokens.

Two devices are a pool. Expert A is on device 0, expert B on device 1, each with a capacity of 2:

    tokens of device 0: A B A     sorted A A B     first rank A 0, B 2     counts A 2, B 1
    tokens of device 1: A B B     sorted A B B     first rank A 0, B 1     counts A 1, B 2
    A's device: counts 2, 1  ->  places 0, -   sizes 2, 0     (device 1's first token is dropped)
    B's device: counts 1, 2  ->  places 0, 1   sizes 1, 1     (device 1's last token is dropped)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding.exchanges import exchange
from model.sharding.layouts import EXPERT_AXES
from model.sharding.ragged_exchange import Ends, Slices, exchange_slices
from model.switch.capacity_dispatch import gather_rows, own_experts
from model.switch.experts import Experts
from model.switch.sort_by_expert import sort_by_expert


class SortedTokens(NamedTuple):
    """One device's assignments in the order of experts, then choices, then tokens.

    Attributes:
        order, rank: assignment at each rank, and its inverse; assignments are numbered by priority,
            choice * tokens + token.
        start: rank of the first assignment of a choice and expert.
        counts: number of these assignments.
    """

    order: Int[Array, " assignments"]
    rank: Int[Array, "top_k tokens"]
    start: Int[Array, "top_k experts"]
    counts: Int[Array, "top_k experts"]


class Placed(NamedTuple):
    """Slices of assignments of one choice and expert: rows here, places on the expert's device.

    Attributes:
        start: first row of a slice among the sorted rows of the device with its tokens.
        place: first place on the device of its expert.
        size: number of rows that find room.
    """

    start: Int[Array, "devices top_k own_experts"]
    place: Int[Array, "devices top_k own_experts"]
    size: Int[Array, "devices top_k own_experts"]


def pooled_dispatch(
    x: Float[Array, "tokens embed"],
    expert_index: Int[Array, "tokens top_k"],
    experts: Experts,
    capacity: int,
    devices: int,
) -> tuple[Float[Array, "tokens top_k embed"], Bool[Array, "tokens top_k"]]:
    """Computes every assignment that finds room in its expert's buffer.

    Args:
        x: tokens of this device, a part of one pool.
        expert_index: experts of each token; `experts.total` for padding.
        experts: experts of this device.
        capacity: tokens per expert and pool.
        devices: devices of the expert axis that a pool's tokens are on.

    Returns:
        Expert outputs, zero for dropped assignments; and which assignments were kept.
    """
    own, pools = len(experts.up), jax.lax.axis_size(EXPERT_AXES) // devices
    tokens = _sorted_tokens(expert_index, experts.total)
    start, counts = (_by_owner(numbers, own) for numbers in (tokens.start, tokens.counts))
    their_starts, counts_here = _exchanged(start, counts)
    at_experts = _places(their_starts, counts_here, capacity, devices)
    places, sizes = _exchanged(at_experts.place, at_experts.size)
    at_tokens = Placed(start, places, sizes)
    slices = _slices(at_tokens, at_experts)

    rows = exchange_slices(_in_order(x, tokens), slices, pools * own * capacity)
    outputs = own_experts(rows.reshape(pools, own, capacity, -1), experts)
    rows_back = exchange_slices(outputs.reshape(rows.shape), slices.turned, tokens.rank.size)
    y = gather_rows(rows_back, tokens.rank.reshape(-1), tokens.order[:, None])
    kept = _kept(tokens, expert_index.T, at_tokens.size)
    return jnp.moveaxis(y.reshape(*tokens.rank.shape, -1), 0, 1), kept.T


def _sorted_tokens(expert_index: Int[Array, "tokens top_k"], experts: int) -> SortedTokens:
    by_priority = expert_index.T
    by_expert = sort_by_expert(by_priority.reshape(-1), experts)
    count = jax.vmap(lambda index: jnp.bincount(index, length=experts))(by_priority)
    start = by_expert.offsets + jnp.cumsum(count, axis=0) - count
    return SortedTokens(by_expert.order, by_expert.rank.reshape(by_priority.shape), start, count)


def _in_order(
    x: Float[Array, "tokens embed"], tokens: SortedTokens
) -> Float[Array, "assignments embed"]:
    """Copies each assignment's token to its rank; padding comes last, and is never sent."""
    return gather_rows(x, tokens.order % len(x), tokens.rank.T)


def _by_owner(
    numbers: Int[Array, "top_k experts"], own: int
) -> Int[Array, "devices top_k own_experts"]:
    return jnp.moveaxis(numbers.reshape(len(numbers), -1, own), 1, 0)


def _exchanged(*numbers: Int[Array, "devices top_k own_experts"]) -> Array:
    """Returns the numbers about this device that the others hold, in one exchange."""
    return jnp.moveaxis(exchange(jnp.stack(numbers, axis=1), split=0, concatenate=0), 1, 0)


def _places(
    start: Int[Array, "devices top_k own_experts"],
    count: Int[Array, "devices top_k own_experts"],
    capacity: int,
    devices: int,
) -> Placed:
    """Returns the places of all slices of this device's experts.

    All top-1 assignments of a pool come before all top-2, each in the order of devices. Buffers are
    in the order of pools, then experts.
    """
    _, top_k, own = count.shape
    by_pool = count.reshape(-1, devices, top_k, own)  # pools, devices, top_k, own experts
    in_order = jnp.moveaxis(by_pool, 2, 1).reshape(-1, top_k * devices, own)  # of priority
    before = (jnp.cumsum(in_order, axis=1) - in_order).reshape(-1, top_k, devices, own)
    first = jnp.moveaxis(before, 1, 2)  # rows of the same expert before each slice
    size = jnp.clip(capacity - first, 0, by_pool)
    buffer = jnp.arange(len(first))[:, None, None, None] * own + jnp.arange(own)
    place = jnp.where(size > 0, buffer * capacity + first, 0)
    return Placed(start, place.reshape(count.shape), size.reshape(count.shape))


def _slices(at_tokens: Placed, at_experts: Placed) -> Slices:
    """Returns the slices; those that are empty begin at 0, within the rows on either side."""

    def flat(placed: Placed) -> tuple[Array, Array, Array]:
        start = jnp.where(placed.size > 0, placed.start, 0)
        return start.reshape(-1), placed.place.reshape(-1), placed.size.reshape(-1)

    start, place, size = flat(at_tokens)
    sent = Ends(start, place, size)
    start, place, size = flat(at_experts)
    return Slices(sent, Ends(place, start, size))


def _kept(
    tokens: SortedTokens,
    expert_index: Int[Array, "top_k tokens"],
    size: Int[Array, "devices top_k own_experts"],
) -> Bool[Array, "top_k tokens"]:
    """Returns which assignments are among those of their slice that find room."""
    sizes = jnp.moveaxis(size, 0, 1).reshape(tokens.start.shape)

    def of_choice(start: Array, size: Array, rank: Array, index: Array) -> Array:
        room = size.at[index].get(mode="fill", fill_value=0)
        return rank - start.at[index].get(mode="clip") < room

    return jax.vmap(of_choice)(tokens.start, sizes, tokens.rank, expert_index)
