"""A plan as a table and as a file."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from data.files.atomic import write_text
from model.config import ConfigurationError
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.figures import Figure
from pipeline.planning.roofline import Roofline
from pipeline.recipe.recipe import recipe_to_json


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
        table.add_row(f"  {figure.name}", formatted(figure), figure.unit, mark)
    return table


def formatted(figure: Figure) -> str:
    """Returns a figure's value as text."""
    if isinstance(figure.value, str):
        return figure.value
    if figure.unit == "FLOPs":
        return f"{figure.value:.3e}"
    return f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"


def plan_to_json(
    step: CompiledStep,
    found: Roofline | None,
    figures: Sequence[Figure],
    tried: list[dict[str, Any]],
    wrong: list[str],
) -> dict[str, Any]:
    """Returns the plan as JSON values.

    Its `work` is that of one device; it is recorded so that times at other rates can be computed.
    """
    work = found and {
        "matrix_passes": found.products.passes,
        "main_memory_bytes": found.traffic_bytes,
        "transfers": [one._asdict() for one in found.transfers],
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
