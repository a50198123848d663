"""Changes are tried from the cheapest on until one fits; one that cannot fit is not compiled."""

import dataclasses

import jax
import pytest

from pipeline.planning import remedies as module
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.memory import Memory
from pipeline.planning.remedies import remedies
from pipeline.planning.topology import Topology
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override

GIB = 2**30
EMPTY = Memory(parameters=0, optimizer=0, batch=0, padding=0, kept=0, temporaries=0, program=0)


def devices(gibibytes: float) -> Topology:
    chips = tuple(jax.devices()[:4])
    return Topology("v5p:2x2x1", chips, 4, round(gibibytes * GIB), (2, 2, 1))


@pytest.fixture
def compiled(monkeypatch):
    """Replaces the compiler: 16 GiB, 8 with remat, divided by microbatches; lists its calls."""
    asked = []

    def compile_step(recipe, topology, dense):
        asked.append((recipe.remat, recipe.accumulate, len(topology.devices)))
        need = (16 if recipe.remat == "none" else 8) // recipe.accumulate
        memory = dataclasses.replace(EMPTY, temporaries=need * GIB)
        return CompiledStep(recipe, topology, memory, program=object(), arrays=0, dense=dense)

    def wider(name, slices):
        raise AssertionError(f"{name} was not needed")

    monkeypatch.setattr(module, "compile_step", compile_step)
    monkeypatch.setattr(module, "topology", wider)
    return asked


@pytest.mark.parametrize(
    ("available", "changes"),
    [
        (10, ["--set remat=full"]),
        (5, ["--set remat=full", "--set accumulate=2 remat=full"]),
    ],
)
def test_the_first_change_that_fits_ends_the_search(compiled, available, changes):
    recipe = with_mesh(get("mt5-demo"), 4)
    tried = list(remedies(CompiledStep(recipe, devices(available), EMPTY, None, 0)))
    assert [change for change, _ in tried] == changes
    assert [step.fits for _, step in tried] == [False] * (len(changes) - 1) + [True]
    assert len(compiled) == len(changes)


def test_more_devices_for_the_experts_come_first(compiled):
    recipe = dataclasses.replace(get("switch-demo"), remat="full")
    recipe = dataclasses.replace(recipe, mesh=dataclasses.replace(recipe.mesh, data=4))
    change, step = next(remedies(CompiledStep(recipe, devices(9), EMPTY, None, 0)))
    assert change == "--set mesh.data=1 mesh.expert=4"
    assert step.recipe.mesh.expert == 4


def test_a_change_is_printed_with_all_of_its_settings(compiled):
    """Another `mesh.model` would be of other devices, and Adafactor has no weight decay."""
    recipe = override(
        get("switch-demo"),
        ["mesh.data=2", "mesh.model=2", "optimizer.rule=adamw", "optimizer.weight_decay=0.1"],
    )
    tried = list(remedies(CompiledStep(recipe, devices(5), EMPTY, None, 0)))
    changes = [change for change, _ in tried]
    assert changes[0] == "--set mesh.data=1 mesh.expert=4 mesh.model=1"
    assert "--set optimizer.rule=adafactor optimizer.weight_decay=0.0 remat=full" in changes
    for change, step in tried:
        assert override(recipe, change.split()[1:]) == step.recipe


def test_what_is_tried_begins_as_the_same_dense_run(compiled):
    dense = with_mesh(get("mt5-demo"), 4)
    step = CompiledStep(with_mesh(get("switch-demo"), 4), devices(10), EMPTY, None, 0, dense=dense)
    assert next(remedies(step))[1].dense == dense


def test_a_recipe_whose_parameters_alone_do_not_fit_is_not_compiled(compiled, monkeypatch):
    """No change on this slice helps, so a larger slice is compiled instead."""
    asked = []

    def wider(name, slices):
        asked.append(name)
        return dataclasses.replace(devices(1000), name=name)

    monkeypatch.setattr(module, "topology", wider)
    tried = list(
        remedies(CompiledStep(with_mesh(get("mt5-demo"), 4), devices(0.001), EMPTY, None, 0))
    )
    assert [change for change, _ in tried] == ["--topology v5p:2x2x2 --set remat=full"]
    assert asked == ["v5p:2x2x2"]
    assert len(compiled) == 1
