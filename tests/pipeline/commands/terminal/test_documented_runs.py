"""The documents' `pretrain` commands fit the hardware that they name, in training and in scoring.

Each command is read from its page and compiled for the topology named there.
"""

import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.planning.compiled_step import compile_step
from pipeline.planning.roofline import roofline
from pipeline.planning.topology import topology
from pipeline.planning.verdict import faults
from pipeline.recipe.fits import check_divides
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override

ROOT = Path(__file__).parents[4]
PAGES = ("docs/first-runs.md", "docs/commands.md", "docs/launch.md")
# Not of simulated devices, which need no hardware.
COMMAND = re.compile(r"(?<!device_count=4 )mswitch pretrain --recipe (\S+)[^\n]*? --set ([^-\n]*)")
# How pages name hardware: a topology; a pod by its number of cores, two per chip; nodes of GPUs.
HARDWARE = re.compile(
    r"(v\d\w*:[\dx]+)|(v5p-128)|(Four nodes of eight H100)|(Eight GPUs in one host)"
)
TOPOLOGIES = {
    "v5p-128": "v5p:4x4x4",
    "Four nodes of eight H100": "h100:4x8",
    "Eight GPUs in one host": "h100:8",
}


class Documented(NamedTuple):
    """A command and the topology that its page names next to it."""

    topology: str
    recipe: str
    settings: tuple[str, ...]


def documented(text: str) -> Iterator[Documented]:
    """Yields the commands of a page that have a mesh."""
    text = re.sub(r"\\\n\s*", "", text)
    named = [(one.start(), one.group()) for one in HARDWARE.finditer(text)]
    for command in COMMAND.finditer(text):
        settings = tuple(re.findall(r"[\w.]+=[\w.]+", command.group(2)))
        _, nearest = min((abs(at - command.start()), name) for at, name in named)
        yield Documented(TOPOLOGIES.get(nearest, nearest), command.group(1), settings)


RUNS = sorted({run for page in PAGES for run in documented((ROOT / page).read_text())})


def test_the_pages_commands_are_found():
    assert {(run.topology, run.recipe) for run in RUNS} == {
        ("h100:4x8", "mswitch-base"),
        ("h100:8", "switch-middle"),
        ("v5p:4x4x4", "mswitch-base"),
        ("v6e:2x4", "mswitch-base"),
        ("v6e:2x4", "mt5-base"),
    }
    assert all("remat=full" in run.settings for run in RUNS if run.recipe.endswith("-base"))


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_a_documented_mesh_has_as_many_devices_as_the_hardware_that_its_page_names(run):
    recipe = override(get(run.recipe), run.settings)
    check_divides(recipe)
    mesh = recipe.mesh
    named = math.prod(map(int, re.findall(r"\d+", run.topology.split(":")[1])))
    assert mesh.data * mesh.expert * mesh.model == named


@pytest.mark.plans
@pytest.mark.parametrize(
    "run",
    [run for run in RUNS if run.recipe.endswith("-base")],  # those that fill their devices
    ids=lambda run: f"{run.recipe} on {run.topology}",
)
def test_a_documented_run_fits_the_hardware_that_its_page_names(run):
    compiler = "jax_cuda12_plugin" if run.topology.startswith("h100") else "libtpu"
    if importlib.util.find_spec(compiler) is None:
        pytest.skip(f"the compiler for {run.topology} is not installed")
    step = compile_step(override(get(run.recipe), run.settings), topology(run.topology))
    assert step.scoring is not None, step.memory
    assert step.fits, (step.memory, step.scoring)
    assert step.program is not None
    assert list(faults(step, roofline(step, step.program))) == []
