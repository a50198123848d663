"""Exchanges: functions run on each device's part of an array, and what they send to other devices.

Products with weights (`model/layers/products.py`) and the switch layer are written out in this way.
Left to itself, XLA's partitioner computed products in loops over parts of a weight, with twice the
traffic, and replicated the switch layer's buffers (60 GB instead of 0.4 GB) if both `data` and
`expert` exceed 1.

Slices of varying number go along the expert axis: `lax.ragged_all_to_all` moves the rows that there
are, where an all-to-all of buffers moves every empty place too. TPUs and GPUs have it; XLA:CPU does
not, so there each device reads its slices out of all devices' rows. That emulation follows the
operation's definition from the same offsets.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, DTypeLike, Float, Int, PyTree

from model.remat import EXCHANGED
from model.sharding.layouts import ACROSS, EXPERT_AXES, batch_axes, spec

TILE = 8  # rows
MANY = 64  # devices


def over_devices(
    function: Callable[..., Any], mesh: Mesh, inputs: PyTree[str], outputs: PyTree[str]
) -> Callable[..., Any]:
    """Returns `function` as a function of whole arrays, run on each device's own part of them.

    Args:
        function: function of one device's parts; it may communicate by mesh axes.
        mesh: the devices.
        inputs: dimension names of each array, in the structure of the arguments.
        outputs: dimension names of each array, in the structure of the result.
    """
    in_specs, out_specs = jax.tree.map(functools.partial(_layout_in_use, mesh), (inputs, outputs))
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def _layout_in_use(mesh: Mesh, names: str) -> PartitionSpec:
    """Returns the layout without `replica` or `model` where that axis has one device.

    JAX would insert sums over it, of which XLA leaves all-reduces as large as the buffers.
    """
    unused = [axis for axis in ("replica", "model") if mesh.shape[axis] == 1]
    kept = (tuple(axis for axis in _axis_names(axes) if axis not in unused) for axes in spec(names))
    return PartitionSpec(*(axes or None for axes in kept))


def _axis_names(axes: Any) -> tuple[str, ...]:
    """Returns the axes of one dimension of a layout as a tuple."""
    return (axes,) if isinstance(axes, str) else axes or ()


def on_devices(
    function: Callable[..., Any], mesh: Mesh | AbstractMesh, in_specs: PyTree, out_specs: PyTree
) -> Callable[..., Any]:
    """Returns `function` as a function of whole arrays, as `over_devices` does, from layouts.

    It must not be differentiated: its caller has a derivative of its own (`custom_vjp`), which
    sums over devices where sums are due.
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def gather_stored(part: Array, stored: NamedSharding) -> Array:
    """Returns a parameter whole but for the model axis, from each device's part of it."""
    for dimension, axes in _split_dimensions(stored):
        for stage in _gather_stages(axes):
            part = jax.lax.all_gather(part, stage, axis=dimension, tiled=True)
    return part


def _gather_stages(axes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yields the axes of one gather after another, innermost first.

    XLA for TPUs writes a gather over 64 devices or more as an all-reduce of zero-filled arrays,
    which sends twice the bytes. Two gathers in turn stay gathers (compiled for v5p:4x4x4).
    """
    if jax.lax.axis_size(axes) >= MANY and len(axes) > 1:
        half = len(axes) // 2
        yield axes[half:]
        yield axes[:half]
    else:
        yield axes


def sum_to_stored(whole: Array, stored: NamedSharding, across: DTypeLike) -> Array:
    """Returns this device's part of the sum over the batch's devices: the reduce-scatter.

    Args:
        whole: this device's term.
        stored: layout of the sum.
        across: type in which the sums of slices cross the network between them.
    """
    split = dict(_split_dimensions(stored))
    for dimension, axes in split.items():
        whole = _sum_scattered(whole, axes, dimension)
    done = {*ACROSS, *(name for axes in split.values() for name in axes)}
    rest = (axis for axis in batch_axes(stored.mesh) if axis not in done)
    if copies := _larger_than_one(rest):
        whole = jax.lax.psum(whole, copies)
    return sum_across(whole, across, ACROSS)


def _sum_scattered(whole: Array, axes: tuple[str, ...], dimension: int) -> Array:
    """Returns this device's part of a sum over the devices of these axes, along a dimension.

    A part that is not a multiple of a TPU's tile of 8 rows gets a dimension of its own. Otherwise
    XLA pads the parts to whole tiles, and moves their ends: 8 permutes per gradient.
    """
    devices = jax.lax.axis_size(axes)
    before, part = whole.shape[:dimension], whole.shape[dimension] // devices
    if part % TILE == 0:
        return jax.lax.psum_scatter(whole, axes, scatter_dimension=dimension, tiled=True)
    parts = whole.reshape(*before, devices, part, *whole.shape[dimension + 1 :])
    return jax.lax.psum_scatter(parts, axes, scatter_dimension=dimension)


def sum_across(part: Array, dtype: DTypeLike, axes: Iterable[str]) -> Array:
    """Returns the sum of the slices' partial sums, sent between slices in the type `dtype`."""
    if slices := _larger_than_one(axes):
        return jax.lax.psum(part.astype(dtype), slices).astype(part.dtype)
    return part


def _split_dimensions(stored: NamedSharding) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the dimensions that a layout splits over axes of the batch, with these axes."""
    for dimension, axes in enumerate(stored.spec):
        batch = (axis for axis in _axis_names(axes) if axis != "model")
        if split := _larger_than_one(batch):
            yield dimension, split


def device_index(axes: Iterable[str]) -> Int[Array, ""] | int:
    """Returns this device's number along these axes together."""
    larger = _larger_than_one(axes)
    return jax.lax.axis_index(larger) if larger else 0


def _larger_than_one(axes: Iterable[str]) -> tuple[str, ...]:
    return tuple(axis for axis in axes if jax.lax.axis_size(axis) > 1)


def exchange(x: Array, *, split: int, concatenate: int) -> Array:
    """Sends part i along dimension `split` to device i of the expert axes, within `over_devices`.

    The parts received are joined along `concatenate`, in the order of the devices.
    """
    received = jax.lax.all_to_all(
        x, EXPERT_AXES, split_axis=split, concat_axis=concatenate, tiled=True
    )
    return checkpoint_name(received, EXCHANGED)


def sum_over_model(x: Array) -> Array:
    """Returns the sum of the partial sums that devices along the `model` axis hold."""
    return x if jax.lax.axis_size("model") == 1 else jax.lax.psum(x, "model")


class Ends(NamedTuple):
    """Where this device has one end of each slice; both ends of a slice have the same size.

    Attributes:
        start: first row on this device of each slice, ordered by the other device.
        at_other: first row of the slice on the other device.
        size: number of rows.
    """

    start: Int[Array, " slices"]
    at_other: Int[Array, " slices"]
    size: Int[Array, " slices"]


class Slices(NamedTuple):
    """Slices that leave this device's rows, and those that come to its places.

    Attributes:
        sent: ends of the slices of its own rows.
        received: ends of the slices that its places hold.
    """

    sent: Ends
    received: Ends

    @property
    def turned(self) -> "Slices":
        """The same slices on their way back."""
        return Slices(self.received, self.sent)


def exchange_slices(
    rows: Float[Array, "rows embed"], slices: Slices, places: int
) -> Float[Array, "places embed"]:
    """Returns what other devices of the expert axis sent; places that nothing is sent to are zero.

    The gradient takes the way back. JAX's own would exchange the offsets again.
    """
    return checkpoint_name(_exchange(rows, slices, places, len(rows)), EXCHANGED)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _exchange(rows: Array, slices: Slices, places: int, count: int) -> Array:
    return _exchanged_forward(rows, slices, places, count)[0]


def _exchanged_forward(rows: Array, slices: Slices, places: int, _: int) -> tuple[Array, Slices]:
    return _move_slices(rows, slices, places), slices


def _exchanged_backward(_: int, count: int, slices: Slices, cotangent: Array) -> tuple[Array, None]:
    return _move_slices(cotangent, slices.turned, count), None


_exchange.defvjp(_exchanged_forward, _exchanged_backward)


def _move_slices(rows: Array, slices: Slices, places: int) -> Array:
    (start, at_other, size), received = slices
    return jax.lax.platform_dependent(
        rows,
        jnp.zeros_like(rows, shape=(places, rows.shape[-1])),
        start,
        size,
        at_other,
        received.size,
        cpu=emulate_ragged_all_to_all,
        default=functools.partial(jax.lax.ragged_all_to_all, axis_name=EXPERT_AXES),
    )


def emulate_ragged_all_to_all(
    rows: Float[Array, "rows embed"],
    places: Float[Array, "places embed"],
    start: Int[Array, " slices"],
    size: Int[Array, " slices"],
    at_other: Int[Array, " slices"],
    received_size: Int[Array, " slices"],
) -> Float[Array, "places embed"]:
    """Does what `lax.ragged_all_to_all` does, by reading from the rows of all devices.

    Args:
        rows: rows that slices are sent from.
        places: result before anything is received.
        start, size: slices of `rows`, as many for each device, in the order of devices.
        at_other: first place of each slice on the device that receives it.
        received_size: number of rows of each slice that this device receives.
    """

    def from_senders(sent: Int[Array, " slices"]) -> Int[Array, " slices"]:
        return jax.lax.all_to_all(sent, EXPERT_AXES, 0, 0, tiled=True)

    devices = jax.lax.axis_size(EXPERT_AXES)
    first = jnp.where(received_size > 0, from_senders(at_other), len(places))
    by_place = jnp.argsort(first)
    here = jnp.arange(len(places))
    at = by_place[jnp.searchsorted(first[by_place], here, side="right") - 1]
    sizes = jnp.minimum(received_size, from_senders(size))
    is_received = (here >= first[at]) & (here < first[at] + sizes[at])
    sender = at // (len(start) // devices)
    row = sender * len(rows) + from_senders(start)[at] + here - first[at]
    whole = jax.lax.all_gather(rows, EXPERT_AXES, tiled=True)
    return jnp.where(is_received[:, None], whole[row], places)
