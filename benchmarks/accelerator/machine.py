"""The devices of this machine: as a topology that a plan is compiled for, and in words."""

import shutil
import subprocess
from importlib import metadata
from typing import Any

import jax
import numpy as np

from pipeline.planning.topology import Topology

USABLE = 0.95  # of a device's memory; the rest is left to fragmentation


def here() -> Topology:
    """Returns the devices of this machine, with the memory of each that a step may fill."""
    devices = tuple(jax.devices())
    first = devices[0]
    shape: tuple[int, ...] = ()
    if first.platform == "tpu":
        last = np.max([device.coords for device in devices], axis=0)
        shape = tuple(int(size) for size in last + 1)
    memory = None
    if first.platform != "cpu":
        memory = int(USABLE * first.memory_stats()["bytes_limit"])
    return Topology(first.device_kind, devices, len(devices), memory, shape)


def description(devices: Topology) -> dict[str, Any]:
    """Returns the description of a measurement's machine."""
    packages = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")
    return {
        "devices": len(devices.devices),
        "kind": devices.kind,
        "gibibytes": None if devices.memory is None else devices.memory / 2**30,
        "driver": driver(),
        "versions": {name: found for name in packages if (found := version(name))},
    }


def version(package: str) -> str | None:
    """Returns an installed package's version; None if it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def driver() -> str | None:
    """Returns the version of NVIDIA's driver; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    words = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[0].strip() or None
