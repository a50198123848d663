"""The kernels at the sizes of t5-base, mt5-base and Switch-C, compiled for absent chips."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler for TPUs, is not installed: make install EXTRAS=demo,dev,plan",
)
needs_plugin = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None,
    reason="JAX's CUDA plugin, the compiler for GPUs, is not installed: "
    "make install EXTRAS=demo,dev,plan-gpu",
)
COST = re.compile(r'\\?"?flops\W+(\d+).*?bytes_accessed\W+(\d+)')


def programs(topology: str, *lengths: str) -> dict[str, str]:
    """Returns the compiled programs by attention, from a process that may look for any device."""
    environment = {key: value for key, value in os.environ.items() if "JAX" not in key}
    for key in ("XLA_FLAGS", "TPU_LOAD_LIBRARY"):
        environment.pop(key, None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.compiled_attention", topology, *lengths],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.plans
@pytest.mark.parametrize(
    ("topology", "target", "kernels"),
    [
        pytest.param("v5p:2x2x1", "tpu_custom_call", 2, marks=needs_libtpu),
        pytest.param("v4:2x2x1", "tpu_custom_call", 2, marks=needs_libtpu),
        pytest.param("v6e:2x2", "tpu_custom_call", 2, marks=needs_libtpu),
        pytest.param("h100:1", "__gpu$xla.gpu.triton", 3, marks=needs_plugin),
    ],
)
def test_programs_are_kernels_that_declare_their_cost_and_write_no_scores(
    topology, target, kernels
):
    """Scores would have queries and keys as their last two dimensions."""
    for name, program in programs(topology).items():
        calls = [line for line in program.splitlines() if f'custom_call_target="{target}"' in line]
        assert len(calls) == kernels, name
        assert all(COST.search(call.replace("\\22", '"')) for call in calls), name
        for scores in (r"\d{3,},1024\]", r"\d{3,},512\]", r"229,229\]", r"114,114\]"):
            assert not re.search(rf"\[\d+,\d+,{scores}", program), name


@pytest.mark.plans
@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "supported"), [("v4:2x2x1", ["1280"]), ("v6e:2x2", ["1280", "1536"])]
)
def test_every_length_with_a_kernel_compiles(topology, supported):
    """A kernel has 16 MiB on a v4, and 1,536 tokens take 16.4."""
    assert list(programs(topology, "1280", "1536")) == supported
