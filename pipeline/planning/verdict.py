"""The verdict of a plan: a compiled program beside its design, and changes that make a recipe fit.

By design (docs/decisions/shapes-declare-sharding.md) a switch layer sends tokens by two all-to-alls
forward and two backward, parameters that are stored in parts arrive by all-gather, activations are
never gathered, and no product is computed twice but by rematerialization and in kernels.

Collectives. XLA for TPUs writes a gather over 64 devices or more as an all-reduce of zero-filled
arrays, which sends twice the bytes (a single `all_gather`, compiled for v5p:4x4x4 and 4x8x8 in
every order of the devices; v5p:2x4x4 has a gather). Products therefore gather in two stages. Such
all-reduces of parameters, as of routers, are gathers here; the bytes that they send are counted as
those of all-reduces.

Products. The backward pass takes twice the products of the forward pass. Rematerialization computes
a block's forward pass again, or what its policy does not keep of it; a kernel states its own FLOPs.
Every expert slot is computed, empty or not. A program with more products than these has been
partitioned in a way that repeats work.

Changes, cheaper ones first: more devices for the experts, fewer kept activations (`remat`),
Adafactor's factored moments, microbatches (`accumulate`), a larger slice. Only the change of
optimizer alters what a run learns. A recipe whose parameters, moments and gradients alone exceed
the memory is not compiled.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

from model.config import ConfigurationError
from model.flops import forward_flops_by_part
from pipeline.errors import ArtifactError
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.figures import Figure, expert_slots, model_share
from pipeline.planning.hlo.collectives import RAGGED, Collective
from pipeline.planning.roofline import Roofline
from pipeline.planning.topology import LARGEST, Topology, topology
from pipeline.recipe.fits import check_divides, least_memory, with_mesh
from pipeline.recipe.overrides import settings_between
from pipeline.recipe.recipe import Recipe, step_flops

SECTION = "collectives beside the design"
GATHERED = 0.9  # share of the bytes of parameters that arrive whole, at least
GATHERS = ("all-gather", "all-reduce")
TOLERANCE = 0.02  # of FLOPs: products of small matrices that the compiler repeats to save memory
MICROBATCHES = (2, 4, 8, 16)


def design_figures(step: CompiledStep, roofline: Roofline) -> Iterator[Figure]:
    """Yields counts of collectives next to those of the design, and whether the program has it."""
    recipe, collectives = step.recipe, roofline.collectives
    if recipe.model.switch is not None:
        sent = _all_to_alls_per_layer(recipe, roofline)
        yield Figure(SECTION, "all-to-alls per switch layer", sent, "", "compiled")
        design = all_to_alls(recipe)
        yield Figure(SECTION, "by design: forward, backward, again by remat", design, "", "derived")
        count = _executions(collectives, "all-to-all", "counts")
        if count := count + _between_slices(roofline, "all-to-all", of_counts=True):
            yield Figure(SECTION, "exchanges of counts per step", count, "", "compiled")
    for origin in ("activations", "parameters", "optimizer"):
        count = _executions(collectives, "all-gather", origin)
        yield Figure(SECTION, f"gathers of {origin} per step", count, "", "compiled")
    if count := _executions(collectives, "all-reduce", "parameters"):
        name = "gathers of parameters written as all-reduces per step"
        yield Figure(SECTION, name, count, "", "compiled")
    for kind in ("reduce-scatter", "all-reduce"):
        count = _executions(collectives, kind, "gradients")
        yield Figure(SECTION, f"{kind}s of gradients per step", count, "", "compiled")
    if step.topology.slices > 1:
        count = _between_slices(roofline, "all-to-all")
        yield Figure(SECTION, "all-to-alls between slices", count, "", "compiled")
    share = least_share(step, roofline)
    yield Figure(SECTION, "the model's share of FLOPs, at least", share, "", "derived")
    as_designed = "yes" if next(faults(step, roofline), None) is None else "NO"
    yield Figure(SECTION, "as designed", as_designed, "", "compiled")


def faults(step: CompiledStep, roofline: Roofline) -> Iterator[str]:
    """Yields a sentence for each way in which a program is not as designed."""
    recipe, collectives = step.recipe, roofline.collectives
    sent, design = _all_to_alls_per_layer(recipe, roofline), all_to_alls(recipe)
    if sent != design:
        yield f"{sent:g} all-to-alls per switch layer instead of {design}"
    if gathers := _executions(collectives, "all-gather", "activations"):
        yield f"activations are gathered, {gathers:,} times per step"
    far = _between_slices(roofline, "all-to-all")
    if far and recipe.mesh.expert_slices == 1:
        yield f"tokens cross between slices, {far:,} times per step"
    if step.split and not _between_slices(roofline, "all-gather"):
        yield from _parameter_faults(step.split, collectives)
    share, least = model_share(step, roofline), least_share(step, roofline)
    if share < least:
        explains = f"remat={recipe.remat} explains {least:.2f}"
        yield f"the model's share of FLOPs is {share:.2f}; {explains}"


def _parameter_faults(split: int, collectives: list[Collective]) -> Iterator[str]:
    received = {
        kind: sum(
            collective.executions * collective.size
            for collective in collectives
            if (collective.kind, collective.origin) == (kind, "parameters")
        )
        for kind in (*GATHERS, "collective-permute")
    }
    gathered, whole = sum(received[kind] for kind in GATHERS), sum(received.values())
    if not gathered:
        yield f"no parameter is gathered, though {split} arrays are stored in parts"
    elif gathered < GATHERED * whole:
        yield (
            f"{gathered / whole:.0%} of the bytes of parameters arrive by all-gather, "
            f"{received['collective-permute'] / whole:.0%} by permutes (products computed shard by "
            "shard)"
        )


def all_to_alls(recipe: Recipe) -> int:
    """Returns the all-to-alls per switch layer by design: 2 + 2, and 2 more if rematerialized."""
    if recipe.model.switch is None or recipe.mesh.expert == 1:
        return 0
    return 6 if recipe.remat == "full" else 4


def _all_to_alls_per_layer(recipe: Recipe, roofline: Roofline) -> float:
    """Returns the exchanges of tokens per switch layer, ragged or not."""
    sent = sum(
        collective.executions
        for collective in roofline.collectives
        if collective.kind in ("all-to-all", RAGGED) and collective.origin != "counts"
    )
    if recipe.mesh.expert_slices > 1:
        sent += _between_slices(roofline, "all-to-all")
    return sent / (2 * recipe.model.blocks * recipe.accumulate)


def _executions(collectives: list[Collective], kind: str, origin: str) -> int:
    """Returns the executions per step of collectives of a kind and origin."""
    return sum(
        collective.executions
        for collective in collectives
        if (collective.kind, collective.origin) == (kind, origin)
    )


def _between_slices(roofline: Roofline, kind: str, *, of_counts: bool = False) -> int:
    """Returns the executions per step of transfers of a kind between slices."""
    return sum(
        transfer.executions
        for transfer in roofline.slice_transfers
        if (transfer.kind, transfer.of_counts) == (kind, of_counts)
    )


def least_share(step: CompiledStep, roofline: Roofline) -> float:
    """Returns the model's share of the program's FLOPs by design, less the tolerance.

    It is 0 for dropless dispatch, whose products of varying size each compiler writes differently.
    """
    recipe = step.recipe
    if recipe.model.switch is not None and recipe.model.switch.dispatch == "dropless":
        return 0.0
    kernel_flops = roofline.kernel_flops * len(step.topology.devices)
    explained = explained_flops(recipe, kernel_flops=kernel_flops)
    return step_flops(recipe) / explained / (1 + TOLERANCE)


def explained_flops(recipe: Recipe, *, kernel_flops: float) -> float:
    """Returns the most FLOPs of a step, over all devices, that design and recipe explain.

    Args:
        recipe: recipe with its mesh.
        kernel_flops: FLOPs of attention that kernels state, in place of the model's; they include
            blocks filled up and scores computed again. 0 where attention is not a kernel.
    """
    parts = forward_flops_by_part(recipe.model, recipe.lengths.inputs, recipe.lengths.targets)
    scores = 0 if kernel_flops else parts.scores
    feed_forward = parts.feed_forward * slots_per_assignment(recipe)
    layers = parts.projections + scores + feed_forward + parts.shared_experts
    layers += router_flops(recipe)
    # Kept is what `model.remat` names. Weights of attention are not, where it is not a kernel: the
    # backward pass multiplies queries with keys again, half of the scores' FLOPs.
    again = {
        "none": 0.0,
        "products": scores / 2,
        "attention": layers - scores / 2 - 0.75 * parts.projections,  # the output's is not kept
    }.get(recipe.remat, layers)
    return recipe.rows * (3 * (layers + parts.logits) + again) + kernel_flops


def slots_per_assignment(recipe: Recipe) -> float:
    """Returns computed expert slots ÷ assignments, averaged over dense and sparse feed-forwards."""
    switch = recipe.model.switch
    if switch is None:
        return 1.0
    expert = expert_slots(recipe)
    sparse = 1.0 if expert is None else expert.slots / expert.assignments
    dense = switch.every - 1
    return (dense + switch.choices * sparse) / (dense + switch.choices)


def router_flops(recipe: Recipe) -> int:
    """Returns the FLOPs of one row's routers; each device along `model` computes all of them."""
    switch = recipe.model.switch
    if switch is None:
        return 0
    tokens = recipe.lengths.inputs + recipe.lengths.targets
    layer = 2 * tokens * recipe.model.embed * switch.experts
    return recipe.model.blocks * layer * recipe.mesh.model


def remedies(step: CompiledStep) -> Iterator[tuple[str, CompiledStep]]:
    """Yields the options of each change after compiling the changed recipe, until one fits."""
    for change, recipe, devices in _changes(step.recipe, step.topology):
        if devices.memory is not None and least_memory(recipe) > devices.memory:
            continue
        changed = compile_step(recipe, devices, step.dense)
        yield change, changed
        if changed.fits:
            return


def _changes(recipe: Recipe, devices: Topology) -> Iterator[tuple[str, Recipe, Topology]]:
    switch, full = recipe.model.switch, replace(recipe, remat="full")
    moved = with_mesh(recipe, len(devices.devices))
    changes = [moved] if switch and moved.mesh.expert > recipe.mesh.expert else []
    if switch and recipe.remat not in ("exchanges", "full"):
        changes.append(replace(recipe, remat="exchanges"))
    if recipe.remat != "full":
        changes.append(full)
    if recipe.optimizer.rule == "adamw":
        rule = replace(recipe.optimizer, rule="adafactor", weight_decay=0.0)
        changes.append(replace(full, optimizer=rule))
    changes += [replace(full, accumulate=recipe.accumulate * parts) for parts in MICROBATCHES]
    for changed in changes:
        with contextlib.suppress(ConfigurationError):
            check_divides(changed)
            yield f"--set {' '.join(settings_between(recipe, changed))}", changed, devices
    for name in larger_slices(devices.name):
        with contextlib.suppress(ArtifactError, ConfigurationError):
            wider = topology(name, devices.slices)
            changed = with_mesh(full, len(wider.devices))
            yield f"--topology {name} --set remat=full", changed, wider


def larger_slices(name: str) -> Iterator[str]:
    """Yields the names of slices with 2, 4, 8 and so on times as many chips."""
    generation, _, sizes = name.partition(":")
    shape = [int(size) for size in sizes.split("x")]
    while True:
        shape[shape.index(min(shape))] *= 2
        shape.sort()
        if math.prod(shape) > LARGEST.get(generation, 0):
            return
        yield f"{generation}:{'x'.join(map(str, shape))}"
