"""Descriptions of NVIDIA GPUs for XLA's compiler, on machines without any: `h100:8`, `h200:4x8`.

The compiler for GPUs is JAX's CUDA plugin. It compiles without a driver if it is given the
properties that it would read from one: multiprocessors, memory sizes and so on. The numbers are
from openxla/xla, `xla/backends/gpu/target_config/specs` (a100_sxm_80, h100_sxm, h200). All hosts of
a cluster are alike, so any number of hosts can be described.
"""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax.experimental import topologies

from pipeline.errors import ArtifactError

# No autotuning: choosing among library kernels would need the GPU.
OPTIONS: Any = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
NEEDED = ("jax_cuda12_plugin", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")
MOST_GPUS = 4096  # the devices are held in an array


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


def parsed(name: str) -> tuple[Gpu, int, int] | None:
    """Returns GPU, hosts and GPUs per host of a name such as `h100:2x8`; None for other names."""
    found = re.fullmatch(r"(\w+):(?:(\d+)x)?(\d+)", name)
    if found is None or found.group(1) not in GPUS:
        return None
    hosts, each = int(found.group(2) or 1), int(found.group(3))
    return (GPUS[found.group(1)], hosts, each) if 0 < hosts * each <= MOST_GPUS else None


def devices(gpu: Gpu, hosts: int, each: int) -> Sequence[Any]:
    """Returns the devices of `hosts` hosts with `each` GPUs, for compiling.

    Raises:
        ArtifactError: if the compiler is not installed.
    """
    if not all(_installed(package) for package in NEEDED):
        raise ArtifactError(
            "GPU topologies need the compiler, JAX's CUDA plugin, which is not installed; "
            "`make install EXTRAS=demo,dev,plan-gpu` in the checkout installs it (cpu:8 works "
            "without)."
        )
    described = topologies.get_topology_desc(
        platform="cuda",
        topology_name=gpu.kind,
        topology=f"1x{hosts}x{each}",
        target_config=description(gpu),
    )
    return described.devices


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def description(gpu: Gpu) -> str:
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
