"""Where arrays live: the mesh `data x expert x model`, and one table from dimension names to axes.

The only file that says PartitionSpec. Changing the strategy means changing the table:

* `data` splits the batch, and stores parameters in parts along `embed` (gathered where used, FSDP).
* `expert` splits the batch further and the experts; tokens meet their expert by all-to-all.
* `model` splits heads, the feed-forward's inner width and the vocabulary.

One device is the mesh 1 x 1 x 1: there is no second code path. Axes are Auto (XLA's partitioner
fills in what is not said); only the switch layer is written out by hand with `shard_map`, because
the partitioner was measured to replicate its buffers (60 GB against 0.4 GB) where both data and
expert exceed 1.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from model.config import ConfigurationError, ModelConfig, at_least_one
from model.dimensions import Names, dimension_names, is_names

BATCH_AXES = ("data", "expert")
EXCHANGED = "exchanged"  # what arrived by an all-to-all; rematerialisation may keep it

# Where a parameter or optimizer statistic is stored.
STORED = {
    "blocks": None,
    "buckets": None,
    "embed": "data",
    "experts": "expert",
    "head": None,
    "heads": "model",
    "mlp": "model",
    "vocabulary": "model",
}
# How it is laid out where it is used.
USED = STORED | {
    "any_experts": None,  # the router is whole on every device
    "batch": BATCH_AXES,
    "top_k": None,
    "embed": None,
    "groups": BATCH_AXES,
    "length": None,
    "microbatches": None,
}


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Devices along each axis.

    Attributes:
        data, expert, model: devices along the axis, over all slices.
        slices: parts of the data axis that only a slow network joins: TPU slices or GPU hosts. What
            crosses it is gradients and stored parameters, never tokens on their way to an expert.
    """

    data: int = 1
    expert: int = 1
    model: int = 1
    slices: int = 1

    def __post_init__(self):
        at_least_one(self, "data", "expert", "model", "slices")


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """Makes the mesh; devices that are near in it share a host, hosts that are near a slice.

    Raises:
        ConfigurationError: the shape does not use exactly the devices that there are.
    """
    devices = jax.devices() if devices is None else list(devices)
    axes = ("data", "expert", "model")
    return Mesh(arranged(shape, devices), axes, axis_types=(AxisType.Auto,) * 3)


def arranged(shape: MeshShape, devices: Sequence[Any]) -> np.ndarray:
    """Returns the devices in the mesh's order, an array data x expert x model.

    The order is that of processes, not `mesh_utils`' along a torus: a host then holds a stretch of
    a batch's rows and reads only those.

    Raises:
        ConfigurationError: as for `make_mesh`.
    """
    wanted = (shape.data, shape.expert, shape.model)
    if math.prod(wanted) != len(devices):
        raise ConfigurationError(
            f"A mesh of data={shape.data}, expert={shape.expert}, model={shape.model} needs "
            f"{math.prod(wanted)} devices; found {len(devices)} ({devices[0].platform}). "
            "Set mesh.data, mesh.expert and mesh.model so that their product is that number."
        )
    part = "slice_index" if hasattr(devices[0], "slice_index") else "process_index"
    slices = Counter(getattr(device, part) for device in devices)
    even = len(set(slices.values())) == 1 and shape.data % shape.slices == 0
    if shape.slices > 1 and (len(slices) != shape.slices or not even):
        raise ConfigurationError(
            f"mesh.slices={shape.slices} was asked for data={shape.data}; found {len(slices)} "
            f"{'slices' if part == 'slice_index' else 'hosts'} of {sorted(slices.values())} "
            "devices. Set mesh.slices to their number and mesh.data to a multiple of it."
        )
    in_order = sorted(devices, key=lambda device: getattr(device, part))
    return np.array(in_order if shape.slices > 1 else devices).reshape(wanted)


def check_fit(
    config: ModelConfig, mesh: Mesh | AbstractMesh, rows: int, inputs: int, targets: int
) -> None:
    """Checks that every sharded size divides and that no device is left without a group.

    Raises:
        ConfigurationError: names every size that does not fit, all at once.
    """
    size = dict(mesh.shape)
    shards = size["data"] * size["expert"]
    wanted = [
        ("rows of a batch", rows, shards),
        ("heads", config.heads, size["model"]),
        ("mlp", config.mlp, size["model"]),
        ("vocabulary rows", config.vocabulary_rows, size["model"]),
        ("embed", config.embed, size["data"]),
    ]
    if config.switch is not None:
        switch = config.switch
        wanted += [
            ("experts", switch.experts, size["expert"]),
            ("encoder tokens of a device", rows * inputs // shards, switch.encoder_group_tokens),
            ("decoder tokens of a device", rows * targets // shards, switch.decoder_group_tokens),
        ]
    misfits = [
        f"{what} ({n}) must be a multiple of {by}" for what, n, by in wanted if n % by or n < by
    ]
    if misfits:
        raise ConfigurationError(
            f"The recipe does not fit a mesh of {size}: {'; '.join(misfits)}. "
            "Change the mesh, the batch or the group sizes."
        )


def spec(names: str | Names, table: dict[str, Any] = USED) -> PartitionSpec:
    """Returns the layout of an array whose dimensions have these names.

    Raises:
        KeyError: a name that is not in the table; it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    return PartitionSpec(*(table[name] for name in names))


def parameter_shardings(model: eqx.Module, mesh: Mesh | AbstractMesh) -> Any:
    """Returns where each array of a model is stored, in the model's own structure."""
    return jax.tree.map(
        lambda names: NamedSharding(mesh, spec(names, STORED)),
        dimension_names(model),
        is_leaf=is_names,
    )


def moment_sharding(
    shape: tuple[int, ...], parameter_shape: tuple[int, ...], parameter: NamedSharding, stacked: int
) -> NamedSharding:
    """Returns where an optimizer statistic is stored: as its parameter, or along its stack only.

    A statistic of every weight lies with its weight, also where the optimizer has made heads and
    their width one dimension. Row and column statistics are a thousandth of the parameter's size;
    only their stack of blocks and experts is worth splitting.
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
    """Returns over how many groups of devices the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the layout of scalars and keys."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: Array, names: str, mesh: Mesh) -> Array:
    """Pins an activation to the table's layout."""
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(names)))


def over_devices(
    function: Callable[..., Any], mesh: Mesh, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[..., Any]:
    """Returns `function` run on every device's own part; dimensions are given by their names."""
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=tuple(spec(names) for names in inputs),
        out_specs=tuple(spec(names) for names in outputs),
    )


def exchange(x: Array, *, split: int, concatenate: int) -> Array:
    """Sends part i along dimension `split` to device i of the expert axis, within `over_devices`.

    What arrives is joined along `concatenate`, in the order of the devices.
    """
    arrived = jax.lax.all_to_all(x, "expert", split_axis=split, concat_axis=concatenate, tiled=True)
    return checkpoint_name(arrived, EXCHANGED)
