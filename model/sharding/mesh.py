"""The mesh of `layouts.AXES`: which device stands where, and which sizes it can divide.

One device is a mesh with one device along each axis: there is no second code path. Axes are Auto:
XLA's partitioner decides what is not annotated.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from model.config import AXES, ConfigurationError, MeshShape, ModelConfig
from model.sharding.layouts import batch_shards, expert_shards

GROUPS = ", which follow from rows, inputs and model.switch's encoder_ and decoder_group_tokens"
IF_ACCELERATORS = '; or, if there are accelerators, install "jax[tpu]" or "jax[cuda13]" first.'


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh; neighbouring devices are on one host, neighbouring hosts in one slice.

    Raises:
        ConfigurationError: if the shape does not use exactly the devices that exist.
    """
    devices = jax.devices() if devices is None else list(devices)
    return Mesh(arrange_devices(shape, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def abstract_mesh(shape: MeshShape) -> AbstractMesh:
    """Returns the mesh of a shape whose devices need not exist.

    Raises:
        ConfigurationError: if slices are not equal parts of it.
    """
    _check_slices(shape)
    types = (AxisType.Auto,) * len(AXES)
    return AbstractMesh(tuple(shape.sizes.values()), AXES, axis_types=types)


def arrange_devices(shape: MeshShape, devices: Sequence[Any]) -> np.ndarray:
    """Returns the devices in the order of the mesh, an array with the axes of the mesh.

    The order is by process, not along a torus as in `mesh_utils`: each host then has consecutive
    rows of a batch and reads only those.

    Raises:
        ConfigurationError: if the shape does not use exactly the devices that exist.
    """
    asked = shape.data * shape.expert * shape.model
    if asked != len(devices):
        raise ConfigurationError(
            f"A mesh of data={shape.data}, expert={shape.expert}, model={shape.model} needs "
            f"{asked} devices; found {len(devices)} ({devices[0].platform}). "
            "Set mesh.data, mesh.expert and mesh.model so that their product is that number"
            + (IF_ACCELERATORS if devices[0].platform == "cpu" else ".")
        )
    _check_slices(shape)
    part = "slice_index" if _have_slices(devices) else "process_index"
    slices = Counter(getattr(device, part) for device in devices)
    even = len(set(slices.values())) == 1
    if shape.slices > 1 and (len(slices) != shape.slices or not even):
        raise ConfigurationError(
            f"mesh.slices={shape.slices} was given; found {len(slices)} "
            f"{'slices' if part == 'slice_index' else 'hosts'} of {sorted(slices.values())} "
            "devices. Set mesh.slices to their number."
        )
    in_order = sorted(devices, key=lambda device: getattr(device, part))
    _, data, _, expert, model = shape.within_slice.values()
    by_slice = np.array(in_order if shape.slices > 1 else devices).reshape(
        shape.data_slices, shape.expert_slices, data, expert, model
    )
    return by_slice.swapaxes(1, 2)


def _have_slices(devices: Sequence[Any]) -> bool:
    """Returns whether devices tell their slices; GPUs may all tell slice 0, whatever joins them."""
    indices = {getattr(device, "slice_index", None) for device in devices}
    return None not in indices and (len(indices) > 1 or devices[0].platform == "tpu")


def _check_slices(shape: MeshShape) -> None:
    """Checks that slices are equal parts of the data axis, of the expert axis, or of both.

    Raises:
        ConfigurationError: if they are not.
    """
    if shape.slices % shape.expert_slices or shape.expert % shape.expert_slices:
        raise ConfigurationError(
            f"mesh.expert_slices={shape.expert_slices} was given with slices={shape.slices} and "
            f"expert={shape.expert}; it must divide both."
        )
    if shape.data % shape.data_slices:
        raise ConfigurationError(
            f"mesh.slices={shape.slices} was given with data={shape.data}; set mesh.data to a "
            f"multiple of {shape.data_slices}, or mesh.expert_slices to the slices that the expert "
            "axis spans."
        )


def check_fit(
    config: ModelConfig, mesh: Mesh | AbstractMesh, rows: int, inputs: int, targets: int
) -> None:
    """Checks that the mesh divides every sharded size and each device has a routing group.

    Raises:
        ConfigurationError: if any does not; the message names all of them.
    """
    axes, shards, expert = dict(mesh.shape), batch_shards(mesh), expert_shards(mesh)
    divisions = [
        ("rows of a batch", rows, shards),
        ("heads", config.heads, axes["model"]),
        ("mlp", config.mlp, axes["model"]),
        ("vocabulary rows", config.vocabulary_rows, axes["model"]),
    ]
    if config.switch is not None:
        switch = config.switch
        divisions += [
            ("experts", switch.experts, expert),
            *([("shared_mlp", switch.shared_mlp, axes["model"])] if switch.shared_mlp else []),
            ("embed", config.embed, axes["data"]),
            (
                f"encoder tokens of a device, {inputs} per row",
                rows * inputs // shards,
                switch.encoder_group_tokens,
            ),
            (
                f"decoder tokens of a device, {targets} per row",
                rows * targets // shards,
                switch.decoder_group_tokens,
            ),
            *_pool_divisions("encoder", config, rows * inputs // shards, expert),
            *_pool_divisions("decoder", config, rows * targets // shards, expert),
        ]
    misfits = [
        f"{what} ({size}) must be a multiple of {divisor}"
        for what, size, divisor in divisions
        if size % divisor or size < divisor
    ]
    if misfits:
        shape = " ".join(f"{name}={count}" for name, count in axes.items() if count > 1)
        groups = GROUPS if config.switch else ""
        raise ConfigurationError(
            f"The sizes of the recipe do not divide over {shape or 'one device'}: "
            f"{'; '.join(misfits)}; change the mesh or these sizes{groups}."
        )


def _pool_divisions(
    stack: str, config: ModelConfig, tokens: int, devices: int
) -> Iterator[tuple[str, int, int]]:
    """Yields what a stack's pools must divide: a device's groups, or those of the expert axis.

    A pool is on one device or on whole devices of one expert axis, which tokens never leave.
    """
    assert config.switch is not None
    routing = config.switch.routing(decoder=stack == "decoder", training=True)
    groups, pooled = max(tokens // routing.group_tokens, 1), routing.pooled_groups
    if pooled > groups:
        yield f"{stack} groups of a pool", pooled, groups
        yield f"{stack} groups along the expert axis", groups * devices, pooled
    else:
        yield f"{stack} groups of a device", groups, pooled
