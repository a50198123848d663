"""A compiled program beside the design: its collectives, and the products that it repeats.

By design (docs/decisions/shapes-declare-sharding.md) a switch layer sends tokens by two all-to-alls
forward and two backward, parameters that are stored in parts arrive by all-gather, activations are
never gathered, and no product is computed twice but by rematerialization and in kernels.

XLA for TPUs writes a gather over 64 devices or more as an all-reduce of zero-filled arrays, which
sends twice the bytes (a single `all_gather`, compiled for v5p:4x4x4 and 4x8x8 in every order of the
devices; v5p:2x4x4 has a gather). Products therefore gather in two stages. Such all-reduces of
parameters, as of routers, are gathers here; the bytes that they send are counted as those of
all-reduces.
"""

from collections.abc import Iterator

from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.explained_flops import explained_flops
from pipeline.planning.figures import Figure
from pipeline.planning.hlo.collectives import RAGGED, Collective
from pipeline.planning.roofline import Roofline
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.step_flops import step_flops

SECTION = "collectives beside the design"
GATHERED = 0.9  # share of the bytes of parameters that arrive whole, at least
GATHERS = ("all-gather", "all-reduce")
TOLERANCE = 0.02  # of FLOPs: products of small matrices that the compiler repeats to save memory


def design_figures(step: CompiledStep, roofline: Roofline) -> Iterator[Figure]:
    """Yields counts of collectives next to those of the design, and whether the program has it."""
    recipe, collectives = step.recipe, roofline.collectives
    if recipe.model.switch is not None:
        found = _all_to_alls_per_layer(recipe, roofline)
        yield Figure(SECTION, "all-to-alls per switch layer", found, "", "compiled")
        design = all_to_alls(recipe)
        yield Figure(SECTION, "by design: forward, backward, again by remat", design, "", "derived")
        count = executions(collectives, "all-to-all", "counts")
        if count := count + _between_slices(roofline, "all-to-all", of_counts=True):
            yield Figure(SECTION, "exchanges of counts per step", count, "", "compiled")
    for origin in ("activations", "parameters", "optimizer"):
        count = executions(collectives, "all-gather", origin)
        yield Figure(SECTION, f"gathers of {origin} per step", count, "", "compiled")
    if count := executions(collectives, "all-reduce", "parameters"):
        name = "gathers of parameters written as all-reduces per step"
        yield Figure(SECTION, name, count, "", "compiled")
    for kind in ("reduce-scatter", "all-reduce"):
        count = executions(collectives, kind, "gradients")
        yield Figure(SECTION, f"{kind}s of gradients per step", count, "", "compiled")
    if step.topology.slices > 1:
        count = _between_slices(roofline, "all-to-all")
        yield Figure(SECTION, "all-to-alls between slices", count, "", "compiled")
    share = least_share(step, roofline)
    yield Figure(SECTION, "the model's share of FLOPs, at least", share, "", "derived")
    found = any(True for _ in faults(step, roofline))
    yield Figure(SECTION, "as designed", "NO" if found else "yes", "", "compiled")


def faults(step: CompiledStep, roofline: Roofline) -> Iterator[str]:
    """Yields a sentence for each way in which a program is not as designed."""
    recipe, collectives = step.recipe, roofline.collectives
    sent, design = _all_to_alls_per_layer(recipe, roofline), all_to_alls(recipe)
    if sent != design:
        yield f"{sent:g} all-to-alls per switch layer instead of {design}"
    if gathers := executions(collectives, "all-gather", "activations"):
        yield f"activations are gathered, {gathers:,} times per step"
    far = _between_slices(roofline, "all-to-all")
    if far and step.recipe.mesh.expert_slices == 1:
        yield f"tokens cross between slices, {far:,} times per step"
    if step.split and not _between_slices(roofline, "all-gather"):
        yield from _faults_of_parameters(step.split, collectives)
    found = _share(step, roofline)
    least = least_share(step, roofline)
    if found < least:
        explains = f"remat={recipe.remat} explains {least:.2f}"
        yield f"the model's share of FLOPs is {found:.2f}; {explains}"


def _faults_of_parameters(split: int, collectives: list[Collective]) -> Iterator[str]:
    received = {
        kind: sum(
            one.executions * one.size
            for one in collectives
            if (one.kind, one.origin) == (kind, "parameters")
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


def least_share(step: CompiledStep, roofline: Roofline) -> float:
    """Returns the model's share of the program's FLOPs by design, less the tolerance.

    It is 0 for dropless dispatch, whose products of varying size each compiler writes differently.
    """
    recipe = step.recipe
    if recipe.model.switch is not None and recipe.model.switch.dispatch == "dropless":
        return 0.0
    of_kernels = roofline.kernel_flops * len(step.topology.devices)
    explained = explained_flops(recipe, of_kernels=of_kernels)
    return step_flops(recipe) / explained / (1 + TOLERANCE)


def all_to_alls(recipe: Recipe) -> int:
    """Returns the all-to-alls per switch layer by design: 2 + 2, and 2 more if rematerialized."""
    if recipe.model.switch is None or recipe.mesh.expert == 1:
        return 0
    return 6 if recipe.remat == "full" else 4


def executions(collectives: list[Collective], kind: str, origin: str) -> int:
    """Returns the executions per step of collectives of a kind and origin."""
    return sum(one.executions for one in collectives if (one.kind, one.origin) == (kind, origin))


def _all_to_alls_per_layer(recipe: Recipe, roofline: Roofline) -> float:
    """Returns the exchanges of tokens per switch layer, ragged or not."""
    sent = sum(
        one.executions
        for one in roofline.collectives
        if one.kind in ("all-to-all", RAGGED) and one.origin != "counts"
    )
    if recipe.mesh.expert_slices > 1:
        sent += _between_slices(roofline, "all-to-all")
    return sent / (2 * recipe.model.blocks * recipe.accumulate)


def _between_slices(roofline: Roofline, kind: str, *, of_counts: bool = False) -> int:
    return sum(
        one.executions
        for one in roofline.slice_transfers
        if (one.kind, one.of_counts) == (kind, of_counts)
    )


def _share(step: CompiledStep, roofline: Roofline) -> float:
    done = roofline.products.flops * len(step.topology.devices)
    return step_flops(step.recipe) / done
