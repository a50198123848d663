"""Sharding of arrays: the mesh `data x expert x model`, and one table from dimensions to its axes.

The only file with a PartitionSpec. To change the strategy, change the table:

* `data` splits the batch, and stored parameters along `embed` (FSDP: gathered for each use).
* `expert` splits the batch further, and the experts; tokens reach their expert by all-to-all.
  Parameters without experts are stored over it as well.
* `model` splits heads, the feed-forward's inner width and the vocabulary.

One device is the mesh 1 x 1 x 1: there is no second code path. Axes are Auto: XLA's partitioner
decides what is not annotated. Products with weights (`model/products.py`) and the switch layer are
written out with `shard_map`. Left to itself, the partitioner computed products in loops over parts
of a weight, with twice the traffic, and replicated the switch layer's buffers (60 GB instead
of 0.4 GB) if both `data` and `expert` exceed 1.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from model.config import ConfigurationError, ModelConfig, at_least_one
from model.dimensions import Names, dimension_names, is_names
from model.remat import EXCHANGED

BATCH_AXES = ("data", "expert")

# Layout in which a parameter or optimizer statistic is stored.
STORED = {
    "blocks": None,
    "buckets": None,
    "embed": "data",
    "experts": "expert",
    "head": None,
    "heads": "model",
    "mlp": "model",
    "vocabulary": "model",
    "width": "model",
}
# Layout in which it is used.
USED = STORED | {
    "batch": BATCH_AXES,
    "embed_shard": "data",  # experts enter the switch layer as they are stored
    "top_k": None,
    "embed": None,
    "groups": BATCH_AXES,
    "length": None,
    "microbatches": None,
}


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Number of devices along each axis.

    Attributes:
        data, expert, model: devices along the axis, over all slices.
        slices: number of parts of the data axis that a slow network joins: TPU slices or GPU hosts.
            Gradients and stored parameters cross it, tokens on the way to an expert never.
    """

    data: int = 1
    expert: int = 1
    model: int = 1
    slices: int = 1

    def __post_init__(self):
        at_least_one(self, "data", "expert", "model", "slices")


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh; neighbouring devices are on one host, neighbouring hosts in one slice.

    Raises:
        ConfigurationError: if the shape does not use exactly the devices that exist.
    """
    devices = jax.devices() if devices is None else list(devices)
    axes = ("data", "expert", "model")
    return Mesh(arranged(shape, devices), axes, axis_types=(AxisType.Auto,) * 3)


def arranged(shape: MeshShape, devices: Sequence[Any]) -> np.ndarray:
    """Returns the devices in the order of the mesh, an array data x expert x model.

    The order is by process, not along a torus as in `mesh_utils`: each host then has consecutive
    rows of a batch and reads only those.

    Raises:
        ConfigurationError: if the shape does not use exactly the devices that exist.
    """
    sizes = (shape.data, shape.expert, shape.model)
    if math.prod(sizes) != len(devices):
        raise ConfigurationError(
            f"A mesh of data={shape.data}, expert={shape.expert}, model={shape.model} needs "
            f"{math.prod(sizes)} devices; found {len(devices)} ({devices[0].platform}). "
            "Set mesh.data, mesh.expert and mesh.model so that their product is that number."
        )
    part = "slice_index" if hasattr(devices[0], "slice_index") else "process_index"
    slices = Counter(getattr(device, part) for device in devices)
    even = len(set(slices.values())) == 1 and shape.data % shape.slices == 0
    if shape.slices > 1 and (len(slices) != shape.slices or not even):
        raise ConfigurationError(
            f"mesh.slices={shape.slices} was given with data={shape.data}; found {len(slices)} "
            f"{'slices' if part == 'slice_index' else 'hosts'} of {sorted(slices.values())} "
            "devices. Set mesh.slices to their number and mesh.data to a multiple of it."
        )
    in_order = sorted(devices, key=lambda device: getattr(device, part))
    return np.array(in_order if shape.slices > 1 else devices).reshape(sizes)


def check_fit(
    config: ModelConfig, mesh: Mesh | AbstractMesh, rows: int, inputs: int, targets: int
) -> None:
    """Checks that the mesh divides every sharded size and each device has a routing group.

    Raises:
        ConfigurationError: if any does not; the message names all of them.
    """
    size = dict(mesh.shape)
    shards = size["data"] * size["expert"]
    divisions = [
        ("rows of a batch", rows, shards),
        ("heads", config.heads, size["model"]),
        ("mlp", config.mlp, size["model"]),
        ("vocabulary rows", config.vocabulary_rows, size["model"]),
        ("embed", config.embed, size["data"]),
    ]
    if config.switch is not None:
        switch = config.switch
        divisions += [
            ("experts", switch.experts, size["expert"]),
            ("encoder tokens of a device", rows * inputs // shards, switch.encoder_group_tokens),
            ("decoder tokens of a device", rows * targets // shards, switch.decoder_group_tokens),
        ]
    misfits = [
        f"{what} ({n}) must be a multiple of {by}" for what, n, by in divisions if n % by or n < by
    ]
    if misfits:
        raise ConfigurationError(
            f"The recipe does not fit a mesh of {size}: {'; '.join(misfits)}. "
            "Change the mesh, the batch or the group sizes."
        )


def spec(names: str | Names, table: dict[str, Any] = USED) -> PartitionSpec:
    """Returns the layout of an array whose dimensions have these names.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    return PartitionSpec(*(table[name] for name in names))


def stored_spec(
    names: str | Names, shape: Sequence[int], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """Returns the layout in which a parameter of this shape is stored.

    The table's, with two exceptions. `embed` is split over `expert` too, unless experts are or the
    size does not divide. A vector is whole on every device: it has less than a thousandth of a
    layer's weights, and gathers of it would only cost latency.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    axes = [STORED[name] for name in names]
    shards = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if "embed" in names and "experts" not in names:
        at = names.index("embed")
        if set(names) <= {"blocks", "embed"}:
            axes[at] = None
        elif shape[at] % shards == 0:
            axes[at] = BATCH_AXES
    return PartitionSpec(*axes)


def parameter_shardings(model: eqx.Module, mesh: Mesh | AbstractMesh) -> Any:
    """Returns the stored layout of each array of a model, in the model's structure."""
    return jax.tree.map(
        lambda names, leaf: NamedSharding(mesh, stored_spec(names, leaf.shape, mesh)),
        dimension_names(model),
        model,
        is_leaf=is_names,
    )


def moment_sharding(
    shape: tuple[int, ...], parameter_shape: tuple[int, ...], parameter: NamedSharding, stacked: int
) -> NamedSharding:
    """Returns the stored layout of an optimizer statistic: its parameter's, or that of the stack.

    A statistic with one number per weight is split like the weights, also if the optimizer has
    joined heads and their width. Row and column statistics have a thousandth of the parameter's
    size, so only their stack of blocks and experts is split.
    """
    if math.prod(shape) != math.prod(parameter_shape):
        return NamedSharding(parameter.mesh, PartitionSpec(*parameter.spec[:stacked]))
    sizes = iter(zip(parameter_shape, parameter.spec, strict=True))
    axes = []
    for size in shape:
        here, axis = next(sizes)
        while here < size:
            here *= next(sizes)[0]  # `head`, which no axis splits
        axes.append(axis)
    return NamedSharding(parameter.mesh, PartitionSpec(*axes))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the layout of a batch: rows over data and expert."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_shards(mesh: Mesh) -> int:
    """Returns the number of parts that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the layout of scalars and keys."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: Array, names: str, mesh: Mesh) -> Array:
    """Constrains an activation to the table's layout."""
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(names)))


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
