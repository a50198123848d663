"""`mswitch plan`: what a recipe needs on a slice that nobody has rented yet, and what it costs.

The real training step is compiled for the slice, without it: XLA's compiler for TPUs is a library
(libtpu) that runs on any machine. Every figure says whether it was compiled, derived or assumed;
`planning/figures.py` says what these mean. Where the recipe does not fit, changes are tried until
one does.
"""

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from model.config import ConfigurationError
from pipeline import arguments
from pipeline.errors import ArtifactError
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.figures import (
    Figure,
    design_figures,
    memory_figures,
    time_figures,
    work_figures,
)
from pipeline.planning.remedies import remedies
from pipeline.planning.roofline import roofline
from pipeline.planning.topology import Topology, topology
from pipeline.recipe import named
from pipeline.recipe.fits import check_divides
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.recipe import Recipe, override, recipe_to_json

ASSUMPTIONS = (
    "assumed: peaks and bandwidths as published (pipeline/hardware/peaks.py), all parts of a step "
    "overlapping perfectly, no latency, every row full. A run is slower."
)


def run(arguments: arguments.Plan) -> None:
    """Compiles, and prints or writes what follows.

    In a process of its own but for simulated devices: libtpu may end it without an exception.

    Raises:
        ArtifactError: no such topology, no compiler, or the compiler ended its process.
        ConfigurationError: the recipe's sizes do not divide.
    """
    if arguments.topology.startswith("cpu:"):
        compile_and_tell(arguments)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # "Could not find cuda drivers"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(compile_and_tell, arguments).result()
        except BrokenProcessPool as error:
            raise ArtifactError(
                f"The compiler ended its own process on {arguments.recipe} for "
                f"{arguments.topology}; what it said is above. Try another slice, fewer devices "
                "(a smaller model), or another version of the compiler."
            ) from error


def compile_and_tell(arguments: arguments.Plan) -> None:
    """Does the work of `run` in this process."""
    jax.config.update("jax_platforms", "cpu")
    console = Console(highlight=False)
    recipe = override(named.get(arguments.recipe), arguments.overrides)
    devices = topology(arguments.topology, recipe.mesh.slices)
    recipe = placed(recipe, arguments.overrides, devices)
    step = compile_step(recipe, devices)
    figures = list(figures_of(step, arguments.price))
    mesh = recipe.mesh
    console.print(
        f"{recipe.name} on {of_slices(devices)}: {devices.chips:,} chips, {len(devices.devices):,} "
        f"devices as data={mesh.data} expert={mesh.expert} model={mesh.model}, "
        f"remat={recipe.remat}, accumulate={recipe.accumulate}",
        soft_wrap=True,
    )
    console.print(table_of(figures))
    if devices.memory is not None:
        console.print(ASSUMPTIONS, soft_wrap=True)
    tried = told(step, console) if arguments.remedies and not step.fits else []
    if arguments.out is not None:
        write(arguments.out, step, figures, tried)


def placed(recipe: Recipe, overrides: Sequence[str], devices: Topology) -> Recipe:
    """Returns the recipe with the mesh that was asked for, or else one that fits the devices.

    Raises:
        ConfigurationError: sizes do not divide.
    """
    asked = {setting.partition("=")[0] for setting in overrides}
    if asked & {"mesh.data", "mesh.expert", "mesh.model"}:
        check_divides(recipe)
        return recipe
    return with_mesh(recipe, len(devices.devices))


def of_slices(devices: Topology) -> str:
    """Returns the topology's name, and how many there are of it."""
    return devices.name if devices.slices == 1 else f"{devices.slices} slices {devices.name}"


def figures_of(step: CompiledStep, price: float) -> Iterable[Figure]:
    """Yields all that is known of a step."""
    yield from memory_figures(step)
    if step.program is None:
        return
    found = roofline(step, step.program)
    yield from work_figures(step, found)
    yield from design_figures(step, found)
    yield from time_figures(step, found, price)


def told(step: CompiledStep, console: Console) -> list[dict[str, Any]]:
    """Tries changes, tells each as it is tried, and returns them."""
    console.print("It does not fit. Tried by compiling:")
    tried = []
    for change, there in remedies(step):
        need, has = there.memory.total / 2**30, (there.topology.memory or 0) / 2**30
        verdict = "fits" if there.fits else "does not fit"
        least = "" if there.program is not None else "at least "
        console.print(f"  {change}: {least}{need:.1f} of {has:.1f} GiB, {verdict}", soft_wrap=True)
        tried.append({"change": change, "gibibytes": need, "fits": there.fits})
    if not any(one["fits"] for one in tried):
        console.print("  nothing that was tried fits; lower rows, or plan a larger slice.")
    return tried


def table_of(figures: Sequence[Figure]) -> Table:
    """Returns the figures under the names of their sections."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_row(f"[bold]{section}[/bold]")
        table.add_row(f"  {figure.name}", written(figure), figure.unit, f"[dim]{figure.mark}[/dim]")
    return table


def written(figure: Figure) -> str:
    """Returns a figure's value as a person reads it."""
    if isinstance(figure.value, str):
        return figure.value
    if figure.unit == "FLOPs":
        return f"{figure.value:.3e}"
    return f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"


def write(
    path: Path, step: CompiledStep, figures: Sequence[Figure], tried: list[dict[str, Any]]
) -> None:
    """Writes the plan as JSON.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    plan = {
        "recipe": recipe_to_json(step.recipe),
        "topology": step.topology.name,
        "slices": step.topology.slices,
        "chips": step.topology.chips,
        "device_kind": step.topology.kind,
        "memory_bytes": dataclasses.asdict(step.memory),
        "fits": step.fits,
        "figures": [figure._asdict() for figure in figures],
        "tried": tried,
    }
    try:
        path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {path} could not be written: {error.strerror}.") from error
