"""Flags are added to what the user set, for tested versions only; compilers accept them.

The soft limit of open files rises to the hard one, and no further than `MOST_FILES`. glibc keeps
what a thread frees, where the user's environment does not say otherwise.
"""

import ctypes
import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import cli
from pipeline.hardware import compiler_flags
from pipeline.hardware.compiler_flags import (
    DETERMINISTIC,
    MOST_FILES,
    OVERLAP,
    TESTED,
    accelerator,
    allow_open_files,
    merged_flags,
)

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests/helpers/overlap_program.py"
OURS = {"xla_a": "true", "xla_b": "1"}
EVALUATE = ["evaluate", "--run", "none", "--tokens", "none"]


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ("", "--xla_a=true --xla_b=1"),
        ("--xla_c=2", "--xla_c=2 --xla_a=true --xla_b=1"),
        ("--xla_a=false", "--xla_a=false --xla_b=1"),
        (" --xla_b  --xla_c=x", "--xla_b --xla_c=x --xla_a=true"),
        ("--xla_ab=1", "--xla_ab=1 --xla_a=true --xla_b=1"),  # another flag, which begins alike
        ("flags.txt", "flags.txt"),
    ],
)
def test_the_users_flags_stay(given, result):
    assert merged_flags(OURS, given) == result


def test_the_accelerator_is_known_without_jax(tmp_path, monkeypatch):
    """A GPU machine in Google's cloud also has a network card of Google's, as TPUs have."""
    assert accelerator(tmp_path) is None
    monkeypatch.setattr(compiler_flags, "has_chips", lambda: True)
    assert accelerator(tmp_path) == "tpu"
    (tmp_path / "nvidia0").touch()
    assert accelerator(tmp_path) == "gpu"


def test_constraints_install_tested_versions():
    lines = (ROOT / "constraints.txt").read_text().split("\n")
    for package, versions in TESTED.items():
        pinned = {
            line.split("==")[1].split(";")[0] for line in lines if line.startswith(f"{package}==")
        }
        assert pinned == set(versions)


@pytest.fixture
def on(monkeypatch):
    """Stands for a machine with an accelerator, its tested compiler and an environment."""
    installed = {compiler: versions[0] for compiler, versions in TESTED.items()}
    versions = SimpleNamespace(
        version=installed.__getitem__, PackageNotFoundError=metadata.PackageNotFoundError
    )

    def machine(kind, **environment):
        monkeypatch.setattr(compiler_flags, "metadata", versions)
        monkeypatch.setattr(compiler_flags, "accelerator", lambda: kind)
        monkeypatch.setattr(os, "environ", environment)
        return environment

    return machine


def test_a_command_that_trains_or_scores_sets_the_flags(on, monkeypatch):
    environment = on("tpu", LIBTPU_INIT_ARGS="--xla_tpu_enable_async_all_to_all=false")
    assert cli.run(EVALUATE) == 2  # there is no such run
    words = environment["LIBTPU_INIT_ARGS"].split()
    assert words[0] == "--xla_tpu_enable_async_all_to_all=false"
    assert len(words) == len(OVERLAP["tpu"].flags)
    assert "XLA_FLAGS" not in environment


def test_deterministic_sets_flags_and_nccl_on_gpus_alone(on):
    """Elsewhere sums have an order without flags."""
    environment = on("gpu", NCCL_ALGO="Ring")
    assert cli.run([*EVALUATE, "--deterministic"]) == 2
    assert "--xla_gpu_deterministic_ops=true" in environment["XLA_FLAGS"]
    assert environment["NCCL_ALGO"] == "Ring"
    for kind in ("tpu", None):
        environment = on(kind)
        compiler_flags.set_compiler_flags(deterministic=True)
        assert not environment.keys() & {"XLA_FLAGS", *compiler_flags.MEMORY_SHARES}


@pytest.mark.parametrize("flags", ["--xla_gpu_deterministic_ops=false", "flags.txt"])
def test_deterministic_is_not_silently_lost(on, capsys, flags):
    on("gpu", XLA_FLAGS=flags)
    assert cli.run([*EVALUATE, "--deterministic"]) == 2
    assert "lacks --xla_gpu_deterministic_ops=true" in capsys.readouterr().err


def test_the_share_of_a_gpu_s_memory_is_set_unless_it_is(on):
    for name in compiler_flags.MEMORY_SHARES:
        environment = on("gpu", **{name: "0.5"})
        compiler_flags.set_compiler_flags(deterministic=False)
        assert [environment.get(one) for one in compiler_flags.MEMORY_SHARES].count("0.5") == 1
        assert "0.92" not in environment.values()


@pytest.mark.parametrize(
    ("kind", "compiler", "left"),
    [("gpu", "jaxlib", {"XLA_CLIENT_MEM_FRACTION": "0.92"}), ("tpu", "libtpu", {})],
)
def test_an_untested_version_gets_no_flags(on, monkeypatch, capsys, kind, compiler, left):
    environment = on(kind)
    monkeypatch.setattr(compiler_flags, "TESTED", {compiler: ("0.0.1",)})
    # On TPUs sums have an order all the same.
    compiler_flags.set_compiler_flags(deterministic=kind == "tpu")
    assert environment == left
    assert f"no compiler flags are set, as {compiler} is" in capsys.readouterr().err
    if kind == "gpu":
        assert cli.run([*EVALUATE, "--deterministic"]) == 2
        assert "--deterministic was given, and jaxlib is" in capsys.readouterr().err


def compiled(topology: str, *sets: compiler_flags.FlagSet) -> str:
    """Returns the program as compiled in a process with the flags in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    for flags in sets:
        compiler_flags.add_flags(flags, environment)
    words = [sys.executable, str(PROGRAM), topology]
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no libtpu")
needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None, reason="no CUDA plugin"
)
ON_SPARSE_CORES = re.compile(r' call-start\(.*async_execution_thread="sparsecore"')


@pytest.mark.plans
@needs_libtpu
@pytest.mark.parametrize("topology", ["v5p:2x2x1", "v6e:2x2", "v5e:2x2", "v4:2x2x1", "tpu7x:2x2x1"])
def test_on_tpus_collectives_become_asynchronous(topology):
    with_flags = compiled(topology, OVERLAP["tpu"])
    assert "all-to-all-start" in with_flags
    if topology in ("v5p:2x2x1", "v6e:2x2"):
        without = compiled(topology)
        assert not ON_SPARSE_CORES.findall(without)
        assert " all-to-all-start(" not in without
        assert len(ON_SPARSE_CORES.findall(with_flags)) >= 3  # two gathers, and sums of gradients
        assert with_flags.count("all-to-all-start") >= 2  # forward and backward


def products_during_gathers(program: str) -> int:
    """Returns the products between start and end of all-gathers, in the order of execution."""
    products, running = 0, 0
    for line in program.splitlines():
        running += (" all-gather-start(" in line) - (" all-gather-done(" in line)
        products += bool(running) and '"__cublas' in line
    return products


@pytest.mark.plans
@needs_cuda
def test_on_gpus_weights_are_gathered_during_products_and_scatters_add_each_row_once():
    """Equal rows are sorted and added before; the scatter's own order no longer matters."""
    plain, overlapping = compiled("h100:1x8"), compiled("h100:1x8", OVERLAP["gpu"])
    assert products_during_gathers(plain) == 0
    assert products_during_gathers(overlapping) >= 1  # 0.10: two
    both = compiled("h100:1x8", OVERLAP["gpu"], DETERMINISTIC["gpu"])
    for program, unique in ((plain, False), (both, True)):
        scatters = [line for line in program.splitlines() if " scatter(" in line]
        assert scatters
        assert all(("unique_indices=true" in line) == unique for line in scatters)


NONE = compiler_flags.resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "risen"),
    [
        (1024, 4096, [(4096, 4096)]),
        (1024, NONE, [(MOST_FILES, NONE)]),
        (4096, 4096, []),
        (NONE, NONE, []),
    ],
)
def test_the_limit_rises_to_what_is_allowed(monkeypatch, soft, hard, risen):
    asked = []
    resource = SimpleNamespace(
        RLIMIT_NOFILE=compiler_flags.resource.RLIMIT_NOFILE,
        RLIM_INFINITY=NONE,
        getrlimit=lambda _: (soft, hard),
        setrlimit=lambda _, limits: asked.append(limits),
    )
    monkeypatch.setattr(compiler_flags, "resource", resource)
    allow_open_files()
    assert asked == risen


ALLOCATING = """
import resource, threading
from pipeline import cli

def new_pages():
    import numpy as np
    for number in range(6):
        if number == 3:  # what the first ones freed is there
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(100_000_000, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def execute(command):
    thread = threading.Thread(target=new_pages)
    thread.start()
    thread.join()

cli.execute = execute
cli.main(["evaluate", "--run", "none", "--tokens", "none"])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_a_large_array_is_allocated_where_the_last_one_was_freed():
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}

    def new_pages(**variables: str) -> int:
        command = [sys.executable, "-c", ALLOCATING]
        run = subprocess.run(
            command, cwd=ROOT, env=environment | variables, capture_output=True, check=True
        )
        return int(run.stdout)

    assert new_pages() < 20  # 24,000 of 4 KiB per array, fewer where the kernel gives large ones
    assert new_pages(MALLOC_ARENA_MAX="4") > 100  # the user's
