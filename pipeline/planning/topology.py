"""Topologies whose devices need not exist: slices of TPUs, hosts of GPUs, simulated CPU devices.

`v5p:4x8x8` is a torus of 256 TPU v5p chips. A device is a chip, except on TPU7x, where each of a
chip's two dies is a device. `cpu:8` is eight devices that JAX simulates on this machine: the same
program with the same partitioning, without a TPU's memory layout or speeds.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from pipeline.errors import ArtifactError
from pipeline.hardware.compiler_flags import GPU_MEMORY_SHARE
from pipeline.hardware.libtpu import use_as_compiler
from pipeline.planning import gpus

# Chips of the largest slice, from the pages named in `pipeline/hardware/peaks.py`.
LARGEST = {"v4": 4096, "v5e": 256, "v5p": 6144, "v6e": 256, "tpu7x": 9216}
FLAT = ("v5e", "v6e")  # a torus of two dimensions
LITE = ("TPU v5 lite", "TPU v6 lite")  # their kinds; a dimension is a ring only at its full 16
OPTIONS = {"v4": {"chip_config_name": "megacore"}}  # two cores of a chip as one device
EXAMPLES = "v5p:4x8x8, v6e:16x16, tpu7x:4x4x4, h100:2x8 (hosts x GPUs) or cpu:8"
GIB = 2**30


@dataclass(frozen=True)
class Topology:
    """Devices and their properties.

    Attributes:
        name: name on the command line.
        devices: JAX devices in the order of processes.
        chips: number of chips, the unit of rent.
        memory: bytes of a device available to a program; None for simulated devices.
        shape: shape of the torus; empty for GPUs and simulated devices.
        slices: number of slices of that shape, joined by a network.
    """

    name: str
    devices: tuple[Any, ...]
    chips: int
    memory: int | None
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def kind(self) -> str:
        """JAX's name of the device kind."""
        return self.devices[0].device_kind

    @property
    def is_tpu(self) -> bool:
        """True for TPUs."""
        return bool(self.shape)

    @property
    def is_gpu(self) -> bool:
        """True for GPUs."""
        return not self.shape and self.memory is not None

    def hops(self, group: tuple[int, ...]) -> float:
        """Returns the mean number of links between two devices of a group, or one and itself."""
        if not self.shape:  # one link to each other device
            return 1 - 1 / len(group)
        at = self._coordinates(group)
        return float(np.mean(self._links(at[:, None], at[None])))

    def reach(self, group: tuple[int, ...]) -> int:
        """Returns the largest number of links between two devices of a group; 1 for GPUs."""
        if not self.shape:
            return 1
        at = self._coordinates(group)
        return int(np.max(self._links(at[:, None], at[None])))

    def farthest(self, pairs: Sequence[tuple[int, int]]) -> int:
        """Returns the largest number of links from a pair's first device to its second."""
        if not self.shape:
            return 1
        sources, targets = zip(*pairs, strict=True)
        return int(np.max(self._links(self._coordinates(sources), self._coordinates(targets))))

    def _coordinates(self, positions: tuple[int, ...]) -> np.ndarray:
        dimensions = len(self.shape)  # a flat torus has a third coordinate, 0
        return np.array([self.devices[position].coords[:dimensions] for position in positions])

    def _links(self, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Returns the number of links between devices at coordinates, the last axis of both.

        A dimension is a ring if its size is a multiple of 4 (v4, v5p, TPU7x) or 16 (v5e, v6e).
        Source: "How to Scale Your Model", the chapter on TPUs.
        """
        distance, sizes = np.abs(here - there), np.array(self.shape)
        ring = sizes % (16 if self.kind.startswith(LITE) else 4) == 0
        return np.where(ring, np.minimum(distance, sizes - distance), distance).sum(axis=-1)


def topology(name: str, slices: int = 1) -> Topology:
    """Returns the topology of a name, with a number of slices.

    Raises:
        ArtifactError: if the name is unknown or its compiler is not installed.
    """
    generation, _, sizes = name.partition(":")
    if generation == "cpu" and re.fullmatch(r"\d+", sizes) and int(sizes):
        return _simulated(name, int(sizes))
    if found := gpus.parsed(name):
        return _gpus(name, *found)
    if generation not in LARGEST or not re.fullmatch(r"\d+(x\d+){1,2}", sizes):
        raise ArtifactError(
            f"--topology {name} is unknown; known are {', '.join((*LARGEST, *gpus.GPUS))} and cpu: "
            f"write for example {EXAMPLES}."
        )
    return _slices(name, generation, tuple(int(size) for size in sizes.split("x")), slices)


def _simulated(name: str, count: int) -> Topology:
    with contextlib.suppress(RuntimeError):  # JAX already has its devices, as in tests
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ArtifactError(
            f"--topology {name} was asked; this process already has {len(devices)} devices. Start "
            "another one."
        )
    return Topology(name, tuple(devices[:count]), count, None, ())


def _gpus(name: str, gpu: gpus.Gpu, hosts: int, each: int) -> Topology:
    found = tuple(gpus.devices(gpu, hosts, each))
    return Topology(name, found, len(found), int(GPU_MEMORY_SHARE * gpu.memory), ())


def _slices(name: str, generation: str, shape: tuple[int, ...], slices: int) -> Topology:
    chips = int(np.prod(shape))
    dimensions = 2 if generation in FLAT else 3
    if chips > LARGEST[generation] or len(shape) != dimensions:
        raise ArtifactError(
            f"--topology {name} was asked; name a slice of {generation} with {dimensions} "
            f"dimensions and at most {LARGEST[generation]:,} chips."
        )
    use_as_compiler()
    options: dict[str, Any] = OPTIONS.get(generation, {})
    if slices > 1:
        options = options | {"num_slices": slices}
    try:
        found = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise ArtifactError(
            f"--topology {name} was asked; libtpu rejects it ({error}). Name another shape."
        ) from error
    memory = _memory(found.devices[0])
    return Topology(name, tuple(found.devices), slices * chips, memory, shape, slices)


def _memory(device: Any) -> int:
    """Returns the bytes available to a program, from the compiler's refusal of a larger one."""
    here = SingleDeviceSharding(device)
    too_large = jax.ShapeDtypeStruct((2**21, 2**16), jnp.float32)
    try:
        jax.jit(lambda x: x + 1, in_shardings=here, out_shardings=here).lower(too_large).compile()
    except jax.errors.JaxRuntimeError as error:
        if found := re.search(r"available HBM \(([\d.]+)G\)", str(error)):
            return round(float(found.group(1)) * GIB)
        raise
    raise AssertionError("a program of 512 GiB was compiled for one device")
