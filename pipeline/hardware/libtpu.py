"""libtpu: the driver of a TPU, and a compiler for TPUs on machines without one.

JAX loads libtpu whenever it is installed. On a machine without TPUs that costs a second and a page
of warnings on standard error, so only `mswitch plan` loads it there. `plan` uses the compiler
alone, in several processes at a time and without queries to Google Cloud's metadata server.
"""

import importlib.util
import os
from pathlib import Path

from pipeline.errors import ArtifactError

GOOGLE = "0x1ae0"  # PCI vendor; Google's network cards have it too
AS_COMPILER = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # otherwise a second process fails at a lock file
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # any; without it libtpu queries and warns
    "TPU_LOAD_LIBRARY": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def leave_alone_without_chips() -> None:
    """Prevents JAX from loading libtpu on a machine without TPUs; call before importing JAX."""
    if not has_chips():
        os.environ.setdefault("TPU_LOAD_LIBRARY", "0")


def has_chips(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Returns whether a PCI device of this machine is Google's."""
    vendors = (path / "vendor" for path in devices.glob("*"))
    return any(path.is_file() and path.read_text().strip() == GOOGLE for path in vendors)


def use_as_compiler() -> None:
    """Sets libtpu's environment for compiling; call before JAX reads a topology.

    Raises:
        ArtifactError: if libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ArtifactError(
            "TPU topologies need the compiler, libtpu, which is not installed; "
            "`make install EXTRAS=demo,dev,plan` in the checkout installs it (cpu:8 works without)."
        )
    os.environ.update(AS_COMPILER)
