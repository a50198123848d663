"""`mswitch plan`: memory, traffic and least time of a recipe's programs on given devices.

Training step and scoring are compiled for devices that need not be present: XLA's compiler for TPUs
is a library (libtpu) that runs on any machine. Every figure is marked as compiled, derived or
assumed (`planning/figures.py`). If the recipe does not fit, changes are compiled until one does.
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
from pipeline.arguments import Plan
from pipeline.errors import ArtifactError
from pipeline.planning.compiled_step import CompiledStep, compile_step
from pipeline.planning.design import design_figures, faults
from pipeline.planning.figures import (
    Figure,
    memory_figures,
    time_figures,
    work_figures,
)
from pipeline.planning.largest_moves import largest_moves, lines
from pipeline.planning.remedies import remedies
from pipeline.planning.roofline import Roofline, roofline
from pipeline.planning.topology import Topology, topology
from pipeline.recipe import named
from pipeline.recipe.fits import check_divides
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.recipe import Recipe, override, recipe_to_json

ASSUMPTIONS = (
    "assumed: peaks and bandwidths as published (pipeline/hardware/peaks.py), all parts of a step "
    "overlapping perfectly, no latency, every row full. A run is slower."
)


def run(arguments: Plan) -> None:
    """Compiles the training step, prints the plan and writes it if `--out` is given.

    For devices other than simulated ones it runs in a process of its own, as libtpu may abort.

    Raises:
        ArtifactError: if the topology is unknown, its compiler is not installed or aborts, or the
            program is not as designed.
        ConfigurationError: if the recipe's sizes do not divide.
    """
    if arguments.topology.startswith("cpu:"):
        compile_and_print(arguments)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # "Could not find cuda drivers"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(compile_and_print, arguments).result()
        except BrokenProcessPool as error:
            raise ArtifactError(
                f"The compiler aborted on {arguments.recipe} for {arguments.topology}; its output "
                "is above. Try another slice, fewer devices (a smaller model), or another version "
                "of the compiler."
            ) from error


def compile_and_print(arguments: Plan) -> None:
    """Compiles, prints and writes the plan in this process."""
    jax.config.update("jax_platforms", "cpu")
    console = Console(highlight=False)
    recipe = override(named.get(arguments.recipe), arguments.overrides)
    devices = topology(arguments.topology, recipe.mesh.slices)
    recipe = on_mesh(recipe, arguments.overrides, devices)
    step = compile_step(recipe, devices)
    found = None if step.program is None else roofline(step, step.program)
    figures = list(figures_of(step, found, arguments.price))
    wrong = [] if found is None else list(faults(step, found))
    mesh = recipe.mesh
    console.print(
        f"{recipe.name} on {slices_of(devices)}: {devices.chips:,} chips, {len(devices.devices):,} "
        f"devices as data={mesh.data} expert={mesh.expert} model={mesh.model}, "
        f"remat={recipe.remat}, accumulate={recipe.accumulate}",
        soft_wrap=True,
    )
    console.print(table_of(figures))
    if devices.memory is not None:
        console.print(ASSUMPTIONS, soft_wrap=True)
    if arguments.moves and step.program is not None:
        for line in lines(largest_moves(step.program, arguments.moves)):
            console.print(line, soft_wrap=True, markup=False)
    tried = try_remedies(step, console) if arguments.remedies and not step.fits else []
    if arguments.out is not None:
        write(arguments.out, step, figures, tried, wrong)
    if wrong:
        raise ArtifactError(
            f"The program of {recipe.name} on {slices_of(devices)} is not as designed: "
            f"{'; '.join(wrong)}. Its figures are above; --moves 25 lists where its bytes go."
        )


def on_mesh(recipe: Recipe, overrides: Sequence[str], devices: Topology) -> Recipe:
    """Returns the recipe with the mesh of the overrides, or else one of all devices.

    Raises:
        ConfigurationError: if the recipe's sizes do not divide.
    """
    asked = {setting.partition("=")[0] for setting in overrides}
    if asked & {"mesh.data", "mesh.expert", "mesh.model"}:
        check_divides(recipe)
        return recipe
    return with_mesh(recipe, len(devices.devices))


def slices_of(devices: Topology) -> str:
    """Returns the topology's name, with the number of slices if there are several."""
    return devices.name if devices.slices == 1 else f"{devices.slices} slices {devices.name}"


def figures_of(step: CompiledStep, found: Roofline | None, price: float) -> Iterable[Figure]:
    """Yields all figures of a step; of one that does not compile, its memory alone."""
    yield from memory_figures(step)
    if found is None:
        return
    yield from work_figures(step, found)
    yield from design_figures(step, found)
    yield from time_figures(step, found, price)


def try_remedies(step: CompiledStep, console: Console) -> list[dict[str, Any]]:
    """Compiles changes, prints each result at once, and returns them all."""
    console.print("It does not fit. Changes that were compiled:")
    tried = []
    for change, changed in remedies(step):
        need, has = changed.needs / 2**30, (changed.topology.memory or 0) / 2**30
        verdict = "fits" if changed.fits else "does not fit"
        least = "" if changed.program is not None else "at least "
        console.print(f"  {change}: {least}{need:.1f} of {has:.1f} GiB, {verdict}", soft_wrap=True)
        tried.append({"change": change, "gibibytes": need, "fits": changed.fits})
    if not any(one["fits"] for one in tried):
        console.print("  none of these fits; lower rows, or plan a larger slice.")
    return tried


def table_of(figures: Sequence[Figure]) -> Table:
    """Returns the figures under their section headings."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_row(f"[bold]{section}[/bold]")
        table.add_row(
            f"  {figure.name}", formatted(figure), figure.unit, f"[dim]{figure.mark}[/dim]"
        )
    return table


def formatted(figure: Figure) -> str:
    """Returns a figure's value as text."""
    if isinstance(figure.value, str):
        return figure.value
    if figure.unit == "FLOPs":
        return f"{figure.value:.3e}"
    return f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"


def write(
    path: Path,
    step: CompiledStep,
    figures: Sequence[Figure],
    tried: list[dict[str, Any]],
    wrong: list[str],
) -> None:
    """Writes the plan as JSON.

    Raises:
        ConfigurationError: if the file cannot be written.
    """
    plan = {
        "recipe": recipe_to_json(step.recipe),
        "topology": step.topology.name,
        "slices": step.topology.slices,
        "chips": step.topology.chips,
        "device_kind": step.topology.kind,
        "memory_bytes": dataclasses.asdict(step.memory),
        "scoring_memory_bytes": step.scoring and dataclasses.asdict(step.scoring),
        "fits": step.fits,
        "faults": wrong,
        "figures": [json_of(figure) for figure in figures],
        "tried": tried,
    }
    try:
        path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {path} could not be written: {error.strerror}.") from error


def json_of(figure: Figure) -> dict[str, Any]:
    """Returns a figure for the file, whose readers find it by the names of version 0.1.0."""
    section, name = (text.replace(" per ", " a ") for text in (figure.section, figure.name))
    return figure._asdict() | {"section": section, "name": name}
