"""What is set before JAX starts: compiler flags, memory, libtpu, and the limit of open files.

A compiler ends the process at a flag that it does not know, so flags are set for the versions in
`TESTED` alone. What the environment already sets is never changed. `OVERLAP` hides collectives
behind matrix products. `DETERMINISTIC` fixes the order of sums on GPUs, where the compiler
otherwise adds colliding rows of a scatter in the order of arrival.

JAX loads libtpu whenever it is installed. On a machine without TPUs that costs a second and a page
of warnings on standard error, so only `mswitch plan` loads it there. `plan` uses the compiler
alone, in several processes at a time and without queries to Google Cloud's metadata server.
"""

import ctypes
import importlib.util
import os
import resource
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from pipeline.errors import ArtifactError
from pipeline.terminal import print_message

# glibc's mallopt(3): one heap for all threads, no mapping of its own for a large array, and no end
# of the heap given back before 2 GiB of it are free.
M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD = -8, -4, -1
KEPT = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1))
MOST_FILES = 2**16  # a container's limit may be 2^30, and some libraries prepare for as many
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


# On small slices XLA for TPUs writes a reduce-scatter as an all-reduce and a slice, which sends
# twice the bytes, unless this is true. Plans compile with it too.
REDUCE_SCATTER = "xla_tpu_enable_sparse_core_collective_offload_nd_reduce_scatter"


@dataclass(frozen=True)
class FlagSet:
    """Flags of one compiler.

    Attributes:
        compiler: package that the flags were tested with.
        variable: environment variable that the compiler reads.
        flags: value of each flag.
        environment: further variables, of NCCL.
    """

    compiler: str
    variable: str
    flags: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


# Effects were seen in programs compiled for v5p, v6e and H100, which tests/pipeline/hardware
# compiles again. Most flags that MaxText (benchmarks/xla_flags_library.py) and JAX-Toolbox
# (docs/GPU_performance.md) recommend are on already or changed nothing there. Left out are
# xla_tpu_enable_async_collective_fusion_fuse_all_gather, which libtpu 0.0.50 refuses except on v5e
# ("incorrect results, hang"), and xla_gpu_enable_while_loop_double_buffering, which copied a third
# more bytes in a loop of eight layers.
OVERLAP = {
    "tpu": FlagSet(
        "libtpu",
        "LIBTPU_INIT_ARGS",
        {
            # Gathers of weights and sums of gradients run on the sparse cores, during products;
            # v4 and v5e accept the flags and go on as before, or fuse the gather with a product.
            "xla_tpu_enable_sparse_core_collective_offload_all_gather": "true",
            "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
            REDUCE_SCATTER: "true",
            # An all-to-all of tokens is split in start and done, with work between.
            "xla_tpu_enable_async_all_to_all": "true",
        },
    ),
    "gpu": FlagSet(
        "jaxlib",
        "XLA_FLAGS",
        {
            # Schedules by estimated times. The default of NVIDIA's images; no effect seen here.
            "xla_gpu_enable_latency_hiding_scheduler": "true",
            # The next layer's weights are gathered during this layer's products (otherwise none).
            "xla_gpu_enable_pipelined_all_gather": "true",
            # A layer's gradients are summed during the next layer's backward pass.
            "xla_gpu_enable_pipelined_all_reduce": "true",
        },
    ),
}
DETERMINISTIC = {
    "gpu": FlagSet(
        "jaxlib",
        "XLA_FLAGS",
        # Scatter-adds become a sort and a sum of neighbours; no choice of kernels by timing
        # (openxla/xla, pull request 12520).
        {"xla_gpu_deterministic_ops": "true"},
        # Sums inside the NVLink switches have no fixed order (PyTorch, ProcessGroupNCCL.cpp).
        {"NCCL_ALGO": "^NVLS"},
    ),
}
# JAX takes 75 % of a GPU's memory unless told otherwise. The rest here is for CUDA, cuDNN and NCCL.
GPU_MEMORY_SHARE = 0.92
MEMORY_SHARES = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"  # new and old name
TESTED = {"jaxlib": ("0.10.2", "0.12.0.1"), "libtpu": ("0.0.42.1", "0.0.50.1")}


def set_compiler_flags(*, deterministic: bool) -> None:
    """Sets the flags and the memory for this machine's accelerators; call before importing JAX.

    Raises:
        ArtifactError: if `deterministic` is given and its flags cannot be set.
    """
    kind = accelerator()
    if kind == "gpu" and not any(name in os.environ for name in MEMORY_SHARES):
        os.environ[MEMORY_SHARES[0]] = f"{GPU_MEMORY_SHARE}"
    sets = [OVERLAP[kind]] if kind in OVERLAP else []
    if deterministic and kind in DETERMINISTIC:
        sets.append(DETERMINISTIC[kind])
    for flags in sets:
        if reason := version_mismatch(flags.compiler):
            if flags in DETERMINISTIC.values():
                raise ArtifactError(
                    f"--deterministic was given, and {reason}; install a tested version, or leave "
                    "the option out."
                )
            print_message(f"mswitch: no compiler flags are set, as {reason}.")
        else:
            add_flags(flags, os.environ)
    if deterministic and kind in DETERMINISTIC:
        check_flags_set(DETERMINISTIC[kind], os.environ)


def keep_freed_memory(environment: Mapping[str, str]) -> None:
    """Makes glibc keep what is freed, on machines without accelerators.

    Call it before the process has a second thread, which would get a heap of its own. XLA
    allocates a program's intermediate arrays at each call. glibc maps them anew each time and the
    kernel clears every page: a third of a training step of `mt5-multilingual` on a CPU.
    """
    is_set = any(name.startswith(("GLIBC_TUNABLES", "MALLOC_")) for name in environment)
    if is_set or accelerator() is not None:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        for parameter, value in KEPT:
            mallopt(parameter, value)


def accelerator(devices: Path = Path("/dev")) -> str | None:
    """Returns `tpu`, `gpu` (NVIDIA's) or None, without starting JAX."""
    # First: `has_chips` is also true of a GPU machine in Google's cloud, for its network card.
    if any(devices.glob("nvidia[0-9]*")):
        return "gpu"
    return "tpu" if has_chips() else None


def version_mismatch(compiler: str) -> str | None:
    """Returns why the flags cannot be given to the installed compiler; None if they can."""
    try:
        version = metadata.version(compiler)
    except metadata.PackageNotFoundError:
        version = "missing"
    if version in TESTED[compiler]:
        return None
    tested = " and ".join(TESTED[compiler])
    return f"{compiler} is {version} and the flags were tested with {tested}"


def add_flags(flags: FlagSet, environment: MutableMapping[str, str]) -> None:
    """Adds flags and variables to an environment, except those that it has already."""
    environment[flags.variable] = merged_flags(flags.flags, environment.get(flags.variable, ""))
    for name, value in flags.environment.items():
        environment.setdefault(name, value)


def check_flags_set(flags: FlagSet, environment: Mapping[str, str]) -> None:
    """Checks that an environment holds the values of the flags.

    Raises:
        ArtifactError: if it holds others, which the user set.
    """
    words = environment.get(flags.variable, "").split()
    if missing := [word for word in _as_words(flags.flags) if word not in words]:
        raise ArtifactError(
            f"--deterministic was given, but {flags.variable} lacks {' '.join(missing)}; remove "
            "other values of these flags from it, or the file of flags that it names."
        )


def _as_words(flags: Mapping[str, str]) -> list[str]:
    """Returns flags as words of a command line."""
    return [f"--{name}={value}" for name, value in flags.items()]


def merged_flags(flags: Mapping[str, str], users: str) -> str:
    """Returns the user's flags and those of ours that they do not name, as one line.

    A text of the user's without a leading `-` names a file of flags and is returned as it is.
    """
    if users and not users.lstrip().startswith("-"):
        return users
    named = {word.lstrip("-").partition("=")[0] for word in users.split()}
    added = {name: value for name, value in flags.items() if name not in named}
    return " ".join([*users.split(), *_as_words(added)])


def allow_open_files() -> None:
    """Raises the soft limit of open files, often 1,024, to the hard one, up to `MOST_FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
