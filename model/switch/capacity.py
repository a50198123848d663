"""Capacity: each expert takes a fixed number of tokens per group, or per pool, and the rest drop.

    into buffers -> all-to-all -> own experts -> sum over `model` -> all-to-all -> out of buffers

Source: Switch Transformer, section 2.2; `model/switch/__init__.py` has a worked example. Shapes are
static and every expert does the same work, whatever the router decides. Buffers are filled and read
by index, in the backward pass too: the reference's one-hot products were measured to add half the
layer's time again. Buffer priority: all top-1 assignments before all top-2, then by token position.
Places follow from a stable sort; the reference's cumulative sum of one-hot rows grows with the
number of experts. The number of tokens follows from the capacity factor, in
`model/config.py` (`expert_capacity`).

**Experts** of one device are feed-forwards like the dense one. The caller passes the grouped matrix
product: batched (capacity) or ragged (dropless). A device of the `model` axis holds a part of each
expert's inner width, so its output is a partial sum, which the caller reduces.

CPU-seconds relative to one dense product on as many rows, forward and backward, of a batched
product, of a loop (`lax.map`) and of products written out (XLA:CPU, width 256 to 1024;
expert_products.py of commit 1892fcf):

    8 experts of 320 rows 1.13, 1.22, 1.11; 32 of 80 rows 1.51, 1.57, 3.30;
    128 of 160 rows 1.37, 1.47; 128 of 20 rows 3.51, 2.73

Hence a batched product: the loop is faster only with very few rows per expert, at a size that
nobody trains.

**Pools.** With thousands of devices each has a few hundred tokens, fewer than there are experts.
Were capacity counted over them alone, nearly every slot would stay empty (92 % for Switch-C on
4,096 chips). So it is counted over all tokens of a pool of groups, in the order of devices:

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

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, Key

from model.layers.feed_forward import activate
from model.remat import MULTIPLIED
from model.sharding.exchanges import (
    Ends,
    Slices,
    device_index,
    exchange,
    exchange_slices,
    sum_over_model,
)
from model.sharding.layouts import EXPERT_AXES

GroupedProduct = Callable[[Float[Array, "*rows in"], Float[Array, "experts in out"]], Array]


class Experts(NamedTuple):
    """The part of a switch layer's experts that one device holds.

    Attributes:
        gate, up, down: weights in the tokens' type; without a gate the experts are ReLU networks.
        total: number of experts on all devices.
        dropout_rate: share of hidden units that dropout zeroes; 0 outside training.
        key: key of the dropout; None outside training.
        microbatch, microbatches: which part of the batch the rows are of, and of how many.
    """

    gate: Float[Array, "experts embed mlp"] | None
    up: Float[Array, "experts embed mlp"]
    down: Float[Array, "experts mlp embed"]
    total: int
    dropout_rate: float
    key: Key[Array, ""] | None
    microbatch: Int[Array, ""]
    microbatches: int

    def __call__(
        self,
        rows: Float[Array, "*rows embed"],
        product: GroupedProduct,
        row_id: Int[Array, "*rows"],
    ) -> Float[Array, "*rows embed"]:
        """Applies its expert to each row; returns this device's term of the sum over `model`.

        Args:
            rows: tokens, grouped as `product` expects them.
            product: rows times the matrices of their experts.
            row_id: number of each row in the whole batch, which seeds its dropout mask.
        """
        gate = None if self.gate is None else checkpoint_name(product(rows, self.gate), MULTIPLIED)
        hidden = activate(gate, checkpoint_name(product(rows, self.up), MULTIPLIED))
        if self.dropout_rate > 0:
            kept = hidden / (1 - self.dropout_rate)
            hidden = jnp.where(self._dropout_mask(row_id), kept, 0)
        return product(hidden, self.down)

    def _dropout_mask(self, row_id: Int[Array, "*rows"]) -> Bool[Array, "*rows mlp"]:
        """Returns True for hidden units to keep: drawn for the whole width, then cut to a part."""
        assert self.key is not None  # dropout has a key
        key, part = self.key, self.up.shape[-1]
        parts = jax.lax.axis_size("model")
        width, first = part * parts, jax.lax.axis_index("model") * part if parts > 1 else 0

        def row_mask(row_id: Int[Array, ""]) -> Bool[Array, " mlp"]:
            row_key = jax.random.fold_in(key, row_id)
            mask = jax.random.bernoulli(row_key, 1 - self.dropout_rate, (width,))
            return jax.lax.dynamic_slice(mask, (first,), (part,))

        return jax.vmap(row_mask)(row_id.reshape(-1)).reshape(*row_id.shape, part)


class SortedByExpert(NamedTuple):
    """A sort of assignments by expert; assignments of padding come last.

    Attributes:
        order: index of the assignment at each rank.
        rank: rank of each assignment, the inverse of `order`.
        offsets: rank of each expert's first assignment.
        group_sizes: number of assignments per expert.
    """

    order: Int[Array, " assignments"]
    rank: Int[Array, " assignments"]
    offsets: Int[Array, " experts"]
    group_sizes: Int[Array, " experts"]


def sort_by_expert(expert_index: Int[Array, " assignments"], experts: int) -> SortedByExpert:
    """Sorts assignments by expert; ties keep their order, index `experts` marks padding."""
    order = jnp.argsort(expert_index, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)), unique_indices=True)
    group_sizes = jnp.bincount(expert_index, length=experts)
    return SortedByExpert(order, rank, jnp.cumsum(group_sizes) - group_sizes, group_sizes)


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
    received = exchange(jax.vmap(_copy_into_buffers)(x, slots), split=1, concatenate=0)
    outputs = apply_own_experts(received, experts)
    returned = exchange(outputs, split=0, concatenate=1)
    y = jax.vmap(_copy_out_of_buffers)(returned, slots)
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


def _copy_into_buffers(
    x: Float[Array, "tokens embed"], slots: Slots
) -> Float[Array, "experts capacity embed"]:
    """Copies the tokens of one group into the experts' buffers; empty slots are zero."""
    top_k, tokens = slots.slot.shape
    is_filled = slots.assignment < top_k * tokens
    token = jnp.where(is_filled, slots.assignment % tokens, tokens)
    buffers = gather_rows(x, token.reshape(-1), slots.slot.T)
    return buffers.reshape(*slots.assignment.shape, -1)


def _copy_out_of_buffers(
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


def apply_own_experts(
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
    device_groups = max(groups // jax.lax.axis_size(EXPERT_AXES), 1)
    received = jnp.arange(groups)
    first = device_index(("replica", "data")) * groups + received - received % device_groups
    return (
        first * experts.microbatches + experts.microbatch * device_groups + received % device_groups
    )


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


class PlacedSlices(NamedTuple):
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
    """Computes every assignment that finds room in its expert's share of a pool of groups.

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
    start, counts = (
        jnp.moveaxis(numbers.reshape(len(numbers), -1, own), 1, 0)  # by the expert's device
        for numbers in (tokens.start, tokens.counts)
    )
    their_starts, counts_here = _exchange_numbers(start, counts)
    at_experts = _places(their_starts, counts_here, capacity, devices)
    places, sizes = _exchange_numbers(at_experts.place, at_experts.size)
    at_tokens = PlacedSlices(start, places, sizes)
    slices = _slices(at_tokens, at_experts)

    # Padding comes last, and is never sent.
    in_order = gather_rows(x, tokens.order % len(x), tokens.rank.T)
    rows = exchange_slices(in_order, slices, pools * own * capacity)
    outputs = apply_own_experts(rows.reshape(pools, own, capacity, -1), experts)
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


def _exchange_numbers(*numbers: Int[Array, "devices top_k own_experts"]) -> Array:
    """Returns the numbers about this device that the others hold, in one exchange."""
    return jnp.moveaxis(exchange(jnp.stack(numbers, axis=1), split=0, concatenate=0), 1, 0)


def _places(
    start: Int[Array, "devices top_k own_experts"],
    count: Int[Array, "devices top_k own_experts"],
    capacity: int,
    devices: int,
) -> PlacedSlices:
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
    return PlacedSlices(start, place.reshape(count.shape), size.reshape(count.shape))


def _slices(at_tokens: PlacedSlices, at_experts: PlacedSlices) -> Slices:
    """Returns the slices; those that are empty begin at 0, within the rows on either side."""

    def flat(placed: PlacedSlices) -> tuple[Array, Array, Array]:
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

    def kept_of_choice(start: Array, size: Array, rank: Array, index: Array) -> Array:
        room = size.at[index].get(mode="fill", fill_value=0)
        return rank - start.at[index].get(mode="clip") < room

    return jax.vmap(kept_of_choice)(tokens.start, sizes, tokens.rank, expert_index)
