"""A plan: memory, traffic and least time of a recipe's programs on given devices.

Training step, scoring and, with `--upcycle`, the making of the first state are compiled for devices
that need not be present: XLA's compiler for TPUs is a library (libtpu) that runs on any machine.
Every figure is marked as compiled, derived or assumed (`figures.py`). If the recipe does not fit,
changes are compiled until one does. The plan is printed as a table, or written as JSON.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.files.atomic import write_text
from model.config import ConfigurationError
from pipeline.errors import ArtifactError
from pipeline.following import first_training
from pipeline.planning.compiled_step import (
    Aborted,
    CompiledStep,
    compile_step,
    in_own_process,
    on_cpu,
)
from pipeline.planning.figures import (
    Figure,
    checkpoint_figures,
    memory_figures,
    time_figures,
    work_figures,
)
from pipeline.planning.hlo.work import largest_moves
from pipeline.planning.roofline import Roofline, roofline
from pipeline.planning.topology import Topology, topology
from pipeline.planning.verdict import design_figures, faults, remedies
from pipeline.recipe import named
from pipeline.recipe.fits import (
    FILLED,
    check_divides,
    usable_bytes,
    with_less_memory,
    with_mesh,
)
from pipeline.recipe.overrides import override, settings_between
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.stage import check_writable
from pipeline.terminal import Terminal, print_message, print_next
from pipeline.training.log.live_view import duration
from pipeline.training.shapes import SHAPE, check_one_shape


def dense_recipe(upcycle: str, overrides: Sequence[str], recipe: Recipe) -> Recipe | None:
    """Returns the recipe of the dense run that the recipe begins as, or None if there is none.

    It has the recipe's optimizer: moments of another rule would not be carried.

    Args:
        upcycle: name of the dense run's recipe; "" for none.
        overrides: settings of the recipe.
        recipe: the recipe with its settings.

    Raises:
        ConfigurationError: if the recipe cannot begin as it.
    """
    if not upcycle:
        return None
    fields = {f"model.{name}" for name in SHAPE}
    shared = [
        setting
        for setting in overrides
        if setting.partition("=")[0] in fields or setting.startswith("optimizer.")
    ]
    dense = override(named.get(upcycle), shared)
    if dense.model.switch is not None or recipe.model.switch is None:
        raise ConfigurationError(
            f"--upcycle {upcycle} was given with --recipe {recipe.name}; a Switch "
            "begins as a dense run: name a dense recipe and a Switch."
        )
    check_one_shape(dense, recipe, upcycle)
    return dense


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


def table_of(figures: Sequence[Figure]) -> Table:
    """Returns the figures under their section headings."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_row(section, style="bold")
        mark = Text(figure.mark, style="dim")
        table.add_row(f"  {figure.name}", format_figure(figure), figure.unit, mark)
    return table


def format_figure(figure: Figure) -> str:
    """Returns a figure's value as text."""
    if isinstance(figure.value, str):
        return figure.value
    if figure.unit == "FLOPs":
        return f"{figure.value:.3e}"
    return f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"


def plan_to_json(
    step: CompiledStep,
    bounds: Roofline | None,
    figures: Sequence[Figure],
    tried: list[dict[str, Any]],
    wrong: list[str],
) -> dict[str, Any]:
    """Returns the plan as JSON values.

    Its `work` is that of one device; it is recorded so that times at other rates can be computed.
    """
    work = bounds and {
        "matrix_passes": bounds.products.passes,
        "main_memory_bytes": bounds.traffic_bytes,
        "transfers": [transfer._asdict() for transfer in bounds.transfers],
    }
    return {
        "recipe": recipe_to_json(step.recipe),
        "topology": step.topology.name,
        "slices": step.topology.slices,
        "chips": step.topology.chips,
        "device_kind": step.topology.kind,
        "memory_bytes": dataclasses.asdict(step.memory),
        "scoring_memory_bytes": step.scoring and dataclasses.asdict(step.scoring),
        "upcycling_memory_bytes": step.upcycling and dataclasses.asdict(step.upcycling),
        "fits": step.fits,
        "faults": wrong,
        "work": work,
        "figures": [figure._asdict() for figure in figures],
        "tried": tried,
    }


def check_new(path: Path) -> None:
    """Checks that a plan replaces nothing but a plan.

    Raises:
        ConfigurationError: if the path holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or "topology" not in content:
        raise ConfigurationError(f"--out {path} exists and is not a plan; name another file.")


def write(path: Path, plan: dict[str, Any]) -> None:
    """Writes a plan as JSON.

    Raises:
        ConfigurationError: if the file cannot be written.
    """
    try:
        write_text(path, json.dumps(plan, indent=1) + "\n")
    except OSError as error:
        raise ConfigurationError(
            f"--out {path} could not be written: {error.strerror}; name another file."
        ) from error


ASSUMPTIONS = (
    "assumed: peaks and bandwidths as published (pipeline/hardware/peaks.py), all parts of a step "
    "overlapping perfectly, every row full. A run is slower."
)

# Measured: switch-middle on h100:8 takes 100 s for its training step and 10 s for scoring.
MAY_TAKE = "seconds for small recipes, minutes for large ones (two for switch-middle on GPUs)."


def plan(
    recipe: Recipe,
    devices: str,
    overrides: Sequence[str],
    *,
    upcycle: str,
    price: float,
    with_remedies: bool,
    moves: int,
    out: Path | None,
) -> None:
    """Compiles a recipe's programs, prints the plan, and writes it to a file if one is given.

    For devices other than simulated ones it runs in a process of its own, as libtpu may abort.

    Args:
        recipe: the recipe with its settings.
        devices: name of the topology.
        overrides: settings of the recipe; the mesh is chosen if they have none.
        upcycle: name of the recipe of the dense run that it begins as; "" if it does not.
        price: price of one chip for one hour.
        with_remedies: whether changes are compiled if it does not fit.
        moves: number of instructions to list.
        out: file for the plan as JSON.

    Raises:
        ArtifactError: if the compiler is not installed or aborts, or the program is not as
            designed.
        ConfigurationError: if the recipe's sizes do not divide, its vocabulary rows follow from
            tokens, or `out` is another file.
    """
    check_has_rows(recipe)
    if out is not None:
        check_writable(out.parent)
        check_new(out)
    compiling = functools.partial(
        compile_and_print, recipe, devices, overrides, upcycle, price, with_remedies, moves, out
    )
    if devices.startswith("cpu:"):
        on_cpu()
        compiling()
        return
    try:
        in_own_process(compiling)
    except Aborted as error:
        raise ArtifactError(
            f"The compiler aborted on {recipe.name} for {devices}; its output is above. Try "
            "another slice, fewer devices (a smaller model), or another version of the compiler."
        ) from error


def check_has_rows(recipe: Recipe) -> None:
    """Checks that a recipe has vocabulary rows.

    Raises:
        ConfigurationError: if they follow from tokens, which a plan does not read.
    """
    if not recipe.model.vocabulary_rows:
        raise ConfigurationError(
            f"{recipe.name} has as many vocabulary rows as its tokens need, which a plan does not "
            "read; name them, for example --set model.vocabulary_rows=2048."
        )


def compile_and_print(
    recipe: Recipe,
    name: str,
    overrides: Sequence[str],
    upcycle: str,
    price: float,
    with_remedies: bool,
    moves: int,
    out: Path | None,
) -> None:
    """Compiles, prints and writes the plan in this process; the arguments are `plan`'s."""
    console = Terminal(highlight=False)
    devices = topology(name, recipe.mesh.slices)
    recipe = on_mesh(recipe, overrides, devices)
    announce = functools.partial(announce_program, recipe, devices)
    step = compile_step(recipe, devices, dense_recipe(upcycle, overrides, recipe), announce)
    bounds = None if step.program is None else roofline(step, step.program)
    figures, wrong = list(figures_of(step, bounds, price)), wrong_in(step, bounds)
    console.print(verdict_of(step, bounds))
    print_plan(step, figures, moves, console)
    chosen, tried = step, []
    if with_remedies and not step.fits:
        chosen, tried = try_remedies(step, console, price)
    if out is not None:
        write(out, plan_to_json(step, bounds, figures, tried, wrong))
    check_as_designed(chosen, wrong if chosen is step else tried[-1]["faults"])
    if chosen.fits:
        if name.startswith("cpu:") and devices.chips > 1:
            simulated = f"XLA_FLAGS=--xla_force_host_platform_device_count={devices.chips}"
            console.print(f"To simulate these devices, put {simulated} before a command.")
        print_next("plan", *training_command(recipe.name, chosen.recipe, upcycle))


def announce_program(recipe: Recipe, devices: Topology, program: str) -> None:
    """Prints which program is compiled next, of which nothing is heard until it is done."""
    print_message(
        f"plan: compiling {program} of {recipe.name} for {slices_of(devices)}; {MAY_TAKE}"
    )


def verdict_of(step: CompiledStep, bounds: Roofline | None) -> str:
    """Returns in a sentence whether a recipe fits, its least time, and what to change."""
    recipe, devices = step.recipe, step.topology
    if devices.memory is None:
        needs, has = step.needs * len(devices.devices), usable_bytes()
        return (
            f"{recipe.name} {'fits' if needs <= has else 'does not fit'} this machine: as "
            f"{devices.name} it needs {gibibytes(needs):.1f} GiB of {gibibytes(has):.1f}. Its "
            "speed is not known; the first steps of a run show it."
        )
    need, has = gibibytes(step.needs), gibibytes(devices.memory)
    if not step.fits:
        least = "" if step.program is not None else "at least "
        change = with_less_memory(recipe, int(FILLED * devices.memory))
        settings = " ".join(settings_between(recipe, change)) if change else ""
        return (
            f"{recipe.name} does not fit: it needs {least}{need:.1f} GiB of {has:.1f} per device; "
            f"take a larger slice{f', or try --set {settings}' if settings else ''}."
        )
    if bounds is None or bounds.seconds is None:
        return f"{recipe.name} fits: it needs {need:.1f} GiB of {has:.1f} per device."
    seconds = max(bounds.seconds.values())
    whole = seconds * recipe.steps
    return (
        f"{recipe.name} fits: it needs {need:.1f} GiB of {has:.1f} per device. A step takes at "
        f"least {seconds:.3g} s, and all {recipe.steps:,} steps "
        f"{duration(whole) if whole >= 60 else f'{whole:.2g} s'}."
    )


def print_plan(step: CompiledStep, figures: Sequence[Figure], moves: int, console: Console) -> None:
    """Prints the devices, the figures, and the largest moves of bytes if any are asked for."""
    recipe, devices, mesh = step.recipe, step.topology, step.recipe.mesh
    chips, count = devices.chips, len(devices.devices)
    console.print(
        f"{recipe.name} on {slices_of(devices)}: {chips:,} chip{'s' * (chips > 1)}, {count:,} "
        f"device{'s' * (count > 1)} as data={mesh.data} expert={mesh.expert} model={mesh.model}, "
        f"remat={recipe.remat}, accumulate={recipe.accumulate}",
    )
    console.print(table_of(figures))
    if devices.memory is not None:
        console.print(ASSUMPTIONS)
    if moves and step.program is not None:
        for line in largest_moves(step.program, moves):
            console.print(line)


def check_as_designed(step: CompiledStep, wrong: list[str]) -> None:
    """Checks that nothing was found in a program that is not as designed.

    Raises:
        ArtifactError: if something was.
    """
    if wrong:
        raise ArtifactError(
            f"The program of {step.recipe.name} on {slices_of(step.topology)} is not as designed: "
            f"{'; '.join(wrong)}. Its figures are above; --moves 25 with its settings lists where "
            "its bytes go."
        )


def wrong_in(step: CompiledStep, bounds: Roofline | None) -> list[str]:
    """Returns the faults of a compiled program's design; nothing where there is no program."""
    return [] if bounds is None else list(faults(step, bounds))


def training_command(name: str, recipe: Recipe, upcycle: str = "") -> list[str]:
    """Returns the words that train a planned recipe on the devices that it was planned for.

    Args:
        name: name of the recipe.
        recipe: the recipe with its settings.
        upcycle: name of the recipe of the dense run that it begins as; "" if it does not.
    """
    settings = settings_between(named.get(name), recipe)
    words = [*first_training(name), *(["--upcycle", f"runs/{upcycle}"] if upcycle else [])]
    return [*words, *(["--set", *settings] if settings else [])]


def slices_of(devices: Topology) -> str:
    """Returns the topology's name, with the number of slices if there are several."""
    return devices.name if devices.slices == 1 else f"{devices.slices} slices {devices.name}"


def figures_of(step: CompiledStep, bounds: Roofline | None, price: float) -> Iterable[Figure]:
    """Yields all figures of a step; of one that does not compile, its memory alone."""
    yield from memory_figures(step)
    if bounds is None:
        return
    yield from work_figures(step, bounds)
    yield from design_figures(step, bounds)
    yield from time_figures(
        step.recipe,
        bounds.seconds,
        bounds.hops_seconds,
        chips=step.topology.chips,
        peak=bounds.peak,
        price=price,
        upcycled=step.dense is not None,
    )
    yield from checkpoint_figures(step, bounds)


def try_remedies(
    step: CompiledStep, console: Console, price: float
) -> tuple[CompiledStep, list[dict[str, Any]]]:
    """Compiles changes until one fits, and prints each result at once.

    The plan of the one that fits is printed in full, time and money included.

    Returns:
        The step that fits, or the one that was given; and all changes, as JSON values.
    """
    console.print("It does not fit. Changes that were compiled:")
    tried: list[dict[str, Any]] = []
    for change, changed in remedies(step):
        need, has = gibibytes(changed.needs), gibibytes(changed.topology.memory or 0)
        verdict = "fits" if changed.fits else "does not fit"
        least = "" if changed.program is not None else "at least "
        console.print(f"  {change}: {least}{need:.1f} of {has:.1f} GiB, {verdict}")
        program = changed.program if changed.fits else None
        bounds = None if program is None else roofline(changed, program)
        wrong = wrong_in(changed, bounds)
        tried.append({"change": change, "gibibytes": need, "fits": changed.fits, "faults": wrong})
        if changed.fits:
            console.print(table_of(list(figures_of(changed, bounds, price))))
            return changed, tried
    console.print("  none of these fits; lower rows, or plan a larger slice.")
    return step, tried


def gibibytes(size: int) -> float:
    """Returns a number of bytes in GiB."""
    return size / 2**30
