"""Topologies whose devices need not exist: slices of TPUs, hosts of GPUs, simulated CPU devices.

`v5p:4x8x8` is a torus of 256 TPU v5p chips. A device is a chip, except on TPU7x, where each of a
chip's two dies is a device. `cpu:8` is eight devices that JAX simulates on this machine: the same
program with the same partitioning, without a TPU's memory layout or speeds.

`h100:8` is one host of GPUs, `h200:4x8` four. The compiler for GPUs is JAX's CUDA plugin. It
compiles without a driver if it is given the properties that it would read from one:
multiprocessors, memory sizes and so on. The numbers are from openxla/xla,
`xla/backends/gpu/target_config/specs` (a100_sxm_80, h100_sxm, h200). All hosts of a cluster are
alike, so any number of hosts can be described.

JAX is imported for a topology's devices only, because a wrong name is refused without it.
"""

import contextlib
import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ArtifactError
from pipeline.hardware.compiler_flags import GPU_MEMORY_SHARE, use_as_compiler

# No autotuning: choosing among library kernels would need the GPU.
GPU_OPTIONS: Any = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
NEEDED = ("jax_cuda12_plugin", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")
MOST_GPUS = 4096  # the devices are held in an array
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
    check_name(name)
    generation, _, sizes = name.partition(":")
    if generation == "cpu":
        return _simulated_topology(name, int(sizes))
    if cluster := gpu_cluster(name):
        devices, memory = gpu_devices(*cluster), int(GPU_MEMORY_SHARE * cluster[0].memory)
        return Topology(name, tuple(devices), len(devices), memory, ())
    return _tpu_topology(name, generation, _shape(sizes), slices)


def check_name(name: str) -> None:
    """Checks the name of a topology.

    Raises:
        ArtifactError: if it is unknown, or a slice of other dimensions or of too many chips.
    """
    generation, _, sizes = name.partition(":")
    is_simulated = generation == "cpu" and re.fullmatch(r"\d+", sizes) and int(sizes)
    if is_simulated or gpu_cluster(name):
        return
    if generation not in LARGEST or not re.fullmatch(r"\d+(x\d+){1,2}", sizes):
        raise ArtifactError(
            f"--topology {name} is unknown; known are {', '.join((*LARGEST, *GPUS))} and cpu: "
            f"write for example {EXAMPLES}."
        )
    shape, dimensions = _shape(sizes), 2 if generation in FLAT else 3
    if not 0 < math.prod(shape) <= LARGEST[generation] or len(shape) != dimensions:
        raise ArtifactError(
            f"--topology {name} was asked; name a slice of {generation} with {dimensions} "
            f"dimensions and at most {LARGEST[generation]:,} chips."
        )


def _shape(sizes: str) -> tuple[int, ...]:
    return tuple(int(size) for size in sizes.split("x"))


def _simulated_topology(name: str, count: int) -> Topology:
    import jax

    with contextlib.suppress(RuntimeError):  # JAX already has its devices, as in tests
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ArtifactError(
            f"--topology {name} was asked; this process already has {len(devices)} devices. Start "
            "another one."
        )
    return Topology(name, tuple(devices[:count]), count, None, ())


def _tpu_topology(name: str, generation: str, shape: tuple[int, ...], slices: int) -> Topology:
    import jax
    from jax.experimental import topologies

    use_as_compiler()
    options: dict[str, Any] = OPTIONS.get(generation, {})
    if slices > 1:
        options = options | {"num_slices": slices}
    try:
        devices = topologies.get_topology_desc(name, platform="tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise ArtifactError(
            f"--topology {name} was asked; libtpu rejects it ({error}). Name another shape."
        ) from error
    chips = slices * math.prod(shape)
    return Topology(name, tuple(devices), chips, _memory(devices[0]), shape, slices)


def _memory(device: Any) -> int:
    """Returns the bytes available to a program, from the compiler's refusal of a larger one."""
    import jax

    here = jax.sharding.SingleDeviceSharding(device)
    too_large = jax.ShapeDtypeStruct((2**21, 2**16), jax.numpy.float32)
    try:
        jax.jit(lambda x: x + 1, in_shardings=here, out_shardings=here).lower(too_large).compile()
    except jax.errors.JaxRuntimeError as error:
        if available := re.search(r"available HBM \(([\d.]+)G\)", str(error)):
            return round(float(available.group(1)) * GIB)
        raise
    raise AssertionError("a program of 512 GiB was compiled for one device")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        kind: JAX's name of the device kind.
        capability: major version of the compute capability.
        multiprocessors: number of multiprocessors.
        lanes: float32 units per multiprocessor.
        gigahertz: clock rate of the multiprocessors.
        memory: bytes of the card.
        bandwidth: bytes per second to and from that memory.
        cache: bytes of the second-level cache.
        shared: bytes of shared memory per multiprocessor.
    """

    kind: str
    capability: int
    multiprocessors: int
    lanes: int
    gigahertz: float
    memory: int
    bandwidth: int
    cache: int
    shared: int


HOPPER: Any = {
    "capability": 9,
    "multiprocessors": 132,
    "lanes": 128,
    "gigahertz": 1.98,
    "cache": 52_428_800,
    "shared": 233_472,
}
GPUS = {
    "a100": Gpu(
        kind="NVIDIA A100-SXM4-80GB",
        capability=8,
        multiprocessors=108,
        lanes=64,
        gigahertz=1.41,
        memory=85_100_068_864,
        bandwidth=2_039_040_000_000,
        cache=41_943_040,
        shared=167_936,
    ),
    "h100": Gpu(
        kind="NVIDIA H100 80GB HBM3",
        memory=84_942_979_072,
        bandwidth=3_352_320_000_000,
        **HOPPER,
    ),
    "h200": Gpu(
        kind="NVIDIA H200 141GB HBM3e",
        memory=151_397_597_184,
        bandwidth=4_800_000_000_000,
        **HOPPER,
    ),
}


def gpu_cluster(name: str) -> tuple[Gpu, int, int] | None:
    """Returns GPU, hosts and GPUs per host of a name such as `h100:2x8`; None for other names."""
    match = re.fullmatch(r"(\w+):(?:(\d+)x)?(\d+)", name)
    if match is None or match.group(1) not in GPUS:
        return None
    hosts, gpus = int(match.group(2) or 1), int(match.group(3))
    return (GPUS[match.group(1)], hosts, gpus) if 0 < hosts * gpus <= MOST_GPUS else None


def gpu_devices(gpu: Gpu, hosts: int, gpus: int) -> Sequence[Any]:
    """Returns the devices of `hosts` hosts with `gpus` GPUs each, for compiling.

    Raises:
        ArtifactError: if the compiler is not installed.
    """
    if not all(map(_is_installed, NEEDED)):
        raise ArtifactError(
            "GPU topologies need the compiler, JAX's CUDA plugin, which is not installed; "
            "`make install VENV=.venv-gpu EXTRAS=demo,dev,plan-gpu` in the checkout installs it in "
            "an environment of its own (cpu:8 works without)."
        )
    from jax.experimental import topologies

    return topologies.get_topology_desc(
        platform="cuda",
        topology_name=gpu.kind,
        topology=f"1x{hosts}x{gpus}",
        target_config=gpu_description(gpu),
    ).devices


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def gpu_description(gpu: Gpu) -> str:
    """Returns a driver's answers to the compiler, as protocol-buffer text."""
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {gpu.capability} }}
  core_count: {gpu.multiprocessors}
  fpus_per_core: {gpu.lanes}
  clock_rate_ghz: {gpu.gigahertz}
  device_memory_size: {gpu.memory}
  memory_bandwidth: {gpu.bandwidth}
  l2_cache_size: {gpu.cache}
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {gpu.shared - 1024}
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  threads_per_warp: 32
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{gpu.kind}"
"""
