"""Programs that are not as designed, each told by its counts.

Changes are tried from the cheapest on until one fits; one that cannot fit is not compiled.
"""

import dataclasses
from collections.abc import Sequence

import jax
import pytest

from model.config import MeshShape
from model.flops import forward_flops_by_part
from pipeline.planning import verdict as module
from pipeline.planning.compiled_step import CompiledStep, Memory
from pipeline.planning.hlo.collectives import Collective, SliceTransfer
from pipeline.planning.hlo.work import Products
from pipeline.planning.roofline import Roofline
from pipeline.planning.topology import Topology
from pipeline.planning.verdict import (
    all_to_alls,
    explained_flops,
    faults,
    least_share,
    remedies,
    slots_per_assignment,
)
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe

NOTHING = Memory(parameters=0, optimizer=0, batch=0, padding=0, kept=0, temporaries=0, program=0)
EIGHT = tuple(range(8))
GATHER = Collective("all-gather", "parameters", ("expert",), EIGHT, 9, 1)
EXCHANGES = Collective("all-to-all", "activations", ("expert",), EIGHT, 8, 1)


FAR = SliceTransfer("all-gather", 3, 100, 2)
CROSSING = SliceTransfer("all-to-all", 2, 100, 2)


def step_of(recipe: Recipe, split: int = 1) -> CompiledStep:
    chips = Topology("cpu:8", tuple(jax.devices()[:8]), 8, None, ())
    return CompiledStep(recipe, chips, NOTHING, None, 0, split=split)


def roofline_of(
    recipe: Recipe,
    collectives: list[Collective],
    *,
    flops: float = 0,
    transfers: Sequence[SliceTransfer] = (),
) -> Roofline:
    """Returns a roofline with these collectives, and as many FLOPs as the design explains."""
    done = int(flops or explained_flops(recipe, kernel_flops=0)) // 8
    return Roofline(Products(done, done), 0, collectives, [*transfers], {}, 0, [], 0, None, 0)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (["mesh.expert=8"], 4),
        (["mesh.expert=8", "remat=full"], 6),
        (["mesh.expert=8", "remat=exchanges"], 4),
        (["mesh.data=8"], 0),
    ],
)
def test_all_to_alls_by_design(settings, count):
    assert all_to_alls(override(get("switch-demo"), settings)) == count


IN_PARTS = [GATHER._replace(executions=242, size=2_132_000)]
IN_PARTS.append(GATHER._replace(kind="collective-permute", executions=7344, size=73_728))


def of_switch(*settings: str) -> Recipe:
    recipe = override(get("switch-demo"), ["mesh.expert=8", *settings])
    assert recipe.model.blocks == 1  # one switch layer per stack
    return recipe


@pytest.mark.parametrize(
    ("collectives", "transfers", "fault"),
    [
        ([EXCHANGES, GATHER], [], ""),
        ([EXCHANGES, GATHER._replace(kind="all-reduce")], [], ""),  # another way to gather
        ([EXCHANGES, GATHER._replace(origin="activations"), GATHER], [], "are gathered, 9"),
        ([EXCHANGES._replace(executions=10), GATHER], [], "5 all-to-alls per switch layer instead"),
        ([EXCHANGES], [], "no parameter is gathered, though 1 arrays are stored in parts"),
        ([EXCHANGES, GATHER, GATHER._replace(kind="collective-permute")], [], "50% by permutes"),
        # As t5-base received them on v5p:2x2x4 before weights were gathered.
        ([EXCHANGES, *IN_PARTS], [], "49% of the bytes of parameters arrive by all-gather, 51% by"),
        ([EXCHANGES], [FAR], ""),  # parameters may come from another slice, and tokens stay
        ([EXCHANGES], [FAR, CROSSING], "tokens cross between slices, 2 times per step"),
    ],
)
def test_each_fault_of_collectives_is_named(collectives, transfers, fault):
    switch = of_switch()
    roofline = roofline_of(switch, collectives, transfers=transfers)
    found = list(faults(step_of(switch), roofline))
    assert len(found) == bool(fault)
    assert all(fault in sentence for sentence in found)


def test_parameters_that_no_axis_splits_need_no_gather():
    roofline = roofline_of(of_switch(), [EXCHANGES])
    assert list(faults(step_of(of_switch(), split=0), roofline)) == []


def test_tokens_may_cross_between_slices_that_experts_are_split_over():
    spanned = of_switch("mesh.slices=2", "mesh.expert_slices=2")
    far = [CROSSING._replace(executions=EXCHANGES.executions)]
    far.append(SliceTransfer("all-to-all", 99, 4, 2, of_counts=True))  # of pools
    for transfers in (far[:1], far):
        roofline = roofline_of(spanned, [GATHER], transfers=transfers)
        assert list(faults(step_of(spanned), roofline)) == []


def full(name: str, *settings: str) -> Recipe:
    recipe = override(get(name), ["remat=full", *settings])
    return dataclasses.replace(recipe, mesh=MeshShape(data=8))


def test_a_policy_that_keeps_more_explains_fewer_products():
    """A dense model's layers are computed four times instead of three with `full`."""

    def share(recipe: Recipe) -> float:
        return least_share(step_of(recipe), roofline_of(recipe, []))

    assert all(0.735 < share(full(f"{kind}-xxl")) < 0.85 for kind in ("t5", "mt5"))
    policies = ("full", "attention", "products", "none")
    shares = [share(override(full("t5-base"), [f"remat={remat}"])) for remat in policies]
    assert shares == sorted(shares)
    assert 0.735 < shares[0] < 0.85
    assert shares[3] == pytest.approx(1 / 1.02)


def test_weights_of_attention_are_computed_again_where_it_is_no_kernel():
    """As compiled for a CPU: 4,530,312,192 FLOPs with `products`."""
    settings = ["rows=2", "inputs=512", "model.layers=2"]
    recipes = {
        remat: override(get("mt5-demo"), [*settings, f"remat={remat}"])
        for remat in ("none", "products", "attention", "full")
    }
    plain = {remat: explained_flops(one, kernel_flops=0) for remat, one in recipes.items()}
    kernels = {remat: explained_flops(one, kernel_flops=1) for remat, one in recipes.items()}
    assert plain["products"] == 4_530_312_192
    parts = forward_flops_by_part(recipes["none"].model, *recipes["none"].lengths[1:])
    again = 2 * parts.scores / 2
    assert plain["products"] - plain["none"] == again
    assert kernels["products"] == kernels["none"]
    kept = 2 * 0.75 * parts.projections
    assert plain["full"] - plain["attention"] == again + kept
    assert kernels["full"] - kernels["attention"] == kept


def test_expert_slots_are_explained():
    """Every layer of Switch-C is sparse, with 1,280 slots per 626 tokens."""
    assert slots_per_assignment(get("switch-c")) == pytest.approx(1280 / 626)
    assert slots_per_assignment(get("t5-base")) == 1
    # Every other layer of Switch-Base is, with a quarter more slots than tokens.
    assert slots_per_assignment(get("switch-base")) == pytest.approx(1.125, abs=0.01)


def test_what_kernels_state_is_explained_in_place_of_the_scores_and_no_more():
    """Padded to blocks, the scores of short rows take many times the model's FLOPs."""
    recipe = full("t5-base")
    explained = explained_flops(recipe, kernel_flops=0)
    scores = forward_flops_by_part(recipe.model, *recipe.lengths[1:]).scores
    others = explained - 4 * recipe.rows * scores
    padded = dataclasses.replace(
        roofline_of(recipe, [GATHER], flops=others + 8e15), kernel_flops=10**15
    )
    assert list(faults(step_of(recipe), padded)) == []
    more = dataclasses.replace(padded, kernel_flops=10**15 // 2)
    assert any("share of FLOPs" in fault for fault in faults(step_of(recipe), more))
    # As of a program that computes every product of t5-base twice.
    (found,) = faults(step_of(recipe), roofline_of(recipe, [GATHER], flops=1.671e15))
    assert found == "the model's share of FLOPs is 0.52; remat=full explains 0.74"


GIB = 2**30


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
        memory = dataclasses.replace(NOTHING, temporaries=need * GIB)
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
    tried = list(remedies(CompiledStep(recipe, devices(available), NOTHING, None, 0)))
    assert [change for change, _ in tried] == changes
    assert [step.fits for _, step in tried] == [False] * (len(changes) - 1) + [True]
    assert len(compiled) == len(changes)


def test_a_change_is_printed_with_all_of_its_settings(compiled):
    """Another `mesh.model` would be of other devices, and Adafactor has no weight decay."""
    recipe = override(
        get("switch-demo"),
        ["mesh.data=2", "mesh.model=2", "optimizer.rule=adamw", "optimizer.weight_decay=0.1"],
    )
    tried = list(remedies(CompiledStep(recipe, devices(5), NOTHING, None, 0)))
    changes = [change for change, _ in tried]
    assert changes[0] == "--set mesh.data=1 mesh.expert=4 mesh.model=1"
    assert "--set optimizer.rule=adafactor optimizer.weight_decay=0.0 remat=full" in changes
    for change, step in tried:
        assert override(recipe, change.split()[1:]) == step.recipe


def test_what_is_tried_begins_as_the_same_dense_run_and_with_more_devices_for_experts(compiled):
    dense = with_mesh(get("mt5-demo"), 4)
    recipe = override(get("switch-demo"), ["mesh.data=4", "remat=full"])
    step = CompiledStep(recipe, devices(9), NOTHING, None, 0, dense=dense)
    change, tried = next(remedies(step))
    assert change == "--set mesh.data=1 mesh.expert=4"
    assert (tried.recipe.mesh.expert, tried.dense) == (4, dense)


def test_a_recipe_whose_parameters_alone_do_not_fit_is_not_compiled(compiled, monkeypatch):
    """No change on this slice helps, so a larger slice is compiled instead."""
    asked = []

    def wider(name, slices):
        asked.append(name)
        return dataclasses.replace(devices(1000), name=name)

    monkeypatch.setattr(module, "topology", wider)
    tried = list(
        remedies(CompiledStep(with_mesh(get("mt5-demo"), 4), devices(0.001), NOTHING, None, 0))
    )
    assert [change for change, _ in tried] == ["--topology v5p:2x2x2 --set remat=full"]
    assert asked == ["v5p:2x2x2"]
    assert len(compiled) == 1
