"""Candidates compiled one after the other, each in a process of its own, and printed as found."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from model.configuration_checks import ConfigurationError
from pipeline.hardware.peaks import peak_flops
from pipeline.planning.candidates import Candidate, Slice, chains
from pipeline.planning.cheapest import Goal, Planned, choice, search
from pipeline.planning.compiled_step import compile_step
from pipeline.planning.design import faults
from pipeline.planning.own_process import Aborted, in_own_process
from pipeline.planning.roofline import roofline
from pipeline.planning.topology import topology
from pipeline.recipe.recipe import Recipe

GIB = 2**30
HEADING = (
    f"{'slice':14} {'step, s':>8} {'days':>7} {'chip-hours':>11} {'money':>11}  settings, remark"
)


def find_cheapest(
    recipe: Recipe, slices: Sequence[str], goal: Goal, most: int, console: Console
) -> tuple[list[Planned], Planned | None]:
    """Compiles candidates on these slices, prints each, and returns them with the best.

    Raises:
        ConfigurationError: if the recipe can be divided over none of the slices.
    """
    found = [in_own_process(slice_of, name, recipe.mesh.slices) for name in slices]
    ways = [chain for one in found for chain in chains(recipe, one)]
    if not ways:
        raise ConfigurationError(
            f"{recipe.name} fits none of {', '.join(slices)}: its sizes do not divide, or its "
            "parameters alone exceed the memory. Name larger slices."
        )
    console.print(HEADING)

    def compiled(candidate: Candidate) -> Planned:
        plan = planned_or_refused(candidate)
        console.print(line_of(plan, goal))
        return plan

    plans, left = search(ways, compiled, goal, most)
    best = choice(plans, goal)
    for line in conclusion(best, goal, left):
        console.print(line)
    return plans, best


def slice_of(name: str, slices: int) -> Slice:
    """Returns a slice's devices, memory and peak rate.

    Raises:
        ConfigurationError: if the devices have no published peak rate.
    """
    devices = topology(name, slices)
    peak = peak_flops(devices.kind)
    if devices.memory is None or peak is None:
        raise ConfigurationError(f"{name} has no known memory and peak rate; name TPUs or GPUs.")
    return Slice(name, len(devices.devices), devices.chips, devices.memory, peak)


def planned_or_refused(candidate: Candidate) -> Planned:
    """Returns the plan of a candidate, which does not fit if the compiler refuses it or aborts."""
    try:
        return in_own_process(planned, candidate)
    except Aborted:
        return _plan(candidate, math.inf, "the compiler aborts")
    except ConfigurationError as error:
        return _plan(candidate, math.inf, f"refused: {error}")


def planned(candidate: Candidate) -> Planned:
    """Compiles a candidate in this process."""
    devices = topology(candidate.slice.name, candidate.recipe.mesh.slices)
    step = compile_step(candidate.recipe, devices)
    if step.program is None or not step.fits:
        needs = f"needs {step.needs / GIB:.1f} of {candidate.slice.memory / GIB:.1f} GiB"
        return _plan(candidate, math.inf, needs)
    found = roofline(step, step.program)
    if found.seconds is None:
        return _plan(candidate, math.inf, "its network has no published speed")
    wrong = "; ".join(faults(step, found))
    return _plan(candidate, max(found.seconds.values()), wrong and f"not as designed: {wrong}")


def _plan(candidate: Candidate, seconds: float, remark: str) -> Planned:
    on, steps = candidate.slice, candidate.recipe.steps
    return Planned(on.name, candidate.settings, on.chips, not remark, seconds, steps, remark)


def line_of(plan: Planned, goal: Goal) -> str:
    """Returns a plan as a line of the table."""
    if math.isinf(plan.seconds):
        numbers = f"{'-':>8} {'-':>7} {'-':>11} {'-':>11}"
    else:
        money = f"{goal.money(plan):,.0f}" if goal.prices else "-"
        numbers = f"{plan.seconds:8.3f} {plan.days:7.2f} {plan.chip_hours:11,.0f} {money:>11}"
    return f"{plan.slice:14} {numbers}  {plan.settings} {plan.remark}".rstrip()


def conclusion(best: Planned | None, goal: Goal, left: int) -> Iterator[str]:
    """Yields what was not compiled, and the choice."""
    if left:
        yield f"{left} more meshes and policies might be better; raise --most to compile them."
    if best is None:
        yield "None of these fits and reaches the goal; name larger slices, or allow more."
        return
    money = f", {goal.money(best):,.0f} money" if goal.prices else ""
    hours = f"{best.chip_hours:,.0f} chip-hours"
    yield f"Chosen: {best.slice}, {best.days:.2f} days at best, {hours}{money}"


def to_json(plans: Sequence[Planned], best: Planned | None) -> dict[str, Any]:
    """Returns the plans and the choice as JSON values; unknown times are null."""
    rows = [plan._asdict() | {"seconds": _finite(plan.seconds)} for plan in plans]
    return {"plans": rows, "chosen": None if best is None else plans.index(best)}


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
