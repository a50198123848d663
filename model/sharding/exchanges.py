"""Functions run on each device's part of an array, and the exchanges between devices inside them.

Products with weights (`model/layers/products.py`) and the switch layer are written out in this way.
Left to itself, XLA's partitioner computed products in loops over parts of a weight, with twice the
traffic, and replicated the switch layer's buffers (60 GB instead of 0.4 GB) if both `data` and
`expert` exceed 1.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from model.remat import EXCHANGED
from model.sharding.layouts import BATCH_AXES, spec


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
    in_specs, out_specs = jax.tree.map(functools.partial(_within, mesh), (inputs, outputs))
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def _within(mesh: Mesh, names: str) -> PartitionSpec:
    """Returns the layout without `model` if that axis has one device: nothing is summed over it.

    JAX would insert sums over it, of which XLA leaves all-reduces as large as the buffers.
    """
    if mesh.shape["model"] > 1:
        return spec(names)
    return PartitionSpec(*(None if axis == "model" else axis for axis in spec(names)))


def on_devices(
    function: Callable[..., Any], mesh: Mesh, in_specs: PyTree, out_specs: PyTree
) -> Callable[..., Any]:
    """Returns `function` as a function of whole arrays, as `over_devices` does, from layouts.

    It must not be differentiated: its caller has a derivative of its own (`custom_vjp`), which
    sums over devices where sums are due.
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def gather_stored(part: Array, stored: PartitionSpec) -> Array:
    """Returns a parameter whole but for the model axis, from each device's part of it."""
    for dimension, axes in _batch_axes(stored):
        part = jax.lax.all_gather(part, axes, axis=dimension, tiled=True)
    return part


def sum_to_stored(whole: Array, stored: PartitionSpec) -> Array:
    """Returns this device's part of the sum over the batch's devices: the reduce-scatter."""
    split = dict(_batch_axes(stored))
    names = {name for axes in split.values() for name in axes}
    if rest := tuple(axis for axis in _larger_than_one(BATCH_AXES) if axis not in names):
        whole = jax.lax.psum(whole, rest)
    for dimension, axes in split.items():
        whole = jax.lax.psum_scatter(whole, axes, scatter_dimension=dimension, tiled=True)
    return whole


def _batch_axes(stored: PartitionSpec) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the dimensions that a layout splits over axes of the batch, with these axes."""
    for dimension, axes in enumerate(stored):
        named = (axes,) if isinstance(axes, str) else axes or ()
        if found := _larger_than_one(axis for axis in named if axis in BATCH_AXES):
            yield dimension, found


def _larger_than_one(axes: Iterable[str]) -> tuple[str, ...]:
    return tuple(axis for axis in axes if jax.lax.axis_size(axis) > 1)


def exchange(x: Array, *, split: int, concatenate: int) -> Array:
    """Sends part i along dimension `split` to device i of the expert axis, within `over_devices`.

    The parts received are joined along `concatenate`, in the order of the devices.
    """
    received = jax.lax.all_to_all(
        x, "expert", split_axis=split, concat_axis=concatenate, tiled=True
    )
    return checkpoint_name(received, EXCHANGED)


def sum_over_model(x: Array) -> Array:
    """Returns the sum of the partial sums that devices along the `model` axis hold."""
    return x if jax.lax.axis_size("model") == 1 else jax.lax.psum(x, "model")
