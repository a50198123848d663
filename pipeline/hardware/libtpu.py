"""libtpu: a TPU's driver where there is one, and a compiler for any TPU where there is none.

JAX loads it whenever it is installed. On a machine without TPUs that costs a second and a page of
complaints on standard error, so every command but `mswitch plan` is told not to; `plan` wants the
compiler alone, several processes at a time, and no questions to Google Cloud's metadata server.
"""

import importlib.util
import os
from pathlib import Path

from pipeline.errors import ArtifactError

GOOGLE = "0x1ae0"  # PCI vendor, also of network cards of Google's machines
AS_COMPILER = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process fails at a lock file
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # any; keeps it from asking and complaining
    "TPU_LOAD_LIBRARY": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def leave_alone_without_chips() -> None:
    """Keeps JAX from loading libtpu on a machine that has no TPU; before JAX is imported."""
    if not has_chips():
        os.environ.setdefault("TPU_LOAD_LIBRARY", "0")


def has_chips(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """True where a PCI device is Google's."""
    vendors = (path / "vendor" for path in devices.glob("*"))
    return any(path.is_file() and path.read_text().strip() == GOOGLE for path in vendors)


def use_as_compiler() -> None:
    """Prepares libtpu for compiling; before JAX asks for a topology.

    Raises:
        ArtifactError: it is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ArtifactError(
            "TPU topologies need libtpu, the compiler, which is not installed; "
            "`pip install 'mswitch[plan]'` brings it (cpu:8 needs nothing)."
        )
    os.environ.update(AS_COMPILER)
