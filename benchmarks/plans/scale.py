"""Makes docs/scale.md: runs `mswitch plan` for every row and writes the tables from its figures.

    make scale        # or: python benchmarks/plans/scale.py [--write-only]

Each row is one command, stored with its figures in benchmarks/results/scale.json. A command that is
already there is not run again, so the script may be stopped at any time. On two idle cores each row
takes a minute or two, and 1 to 4 GB. Times are computed anew from a row's stored work each time, so
other rates in `pipeline/hardware/peaks.py` need no compilation.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.hardware.peaks import peak_flops
from pipeline.planning.figures import time_figures
from pipeline.planning.roofline import Transfer, hops_seconds, least_seconds
from pipeline.recipe import named
from pipeline.recipe.overrides import override

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/scale.json"
PAGE = ROOT / "docs/scale.md"
TEXT = Path(__file__).with_name("scale.md")


@dataclass(frozen=True)
class Row:
    """A plan: a recipe on a slice, with settings."""

    recipe: str
    topology: str
    settings: str = ""

    @property
    def command(self) -> str:
        words = f"mswitch plan --recipe {self.recipe} --topology {self.topology}"
        return f"{words} --set {self.settings}" if self.settings else words


FULL = "remat=full"
KEPT = "remat=attention"  # where a device has room for it
T5_XXL = Row("t5-xxl", "v5p:4x8x8", FULL)
SWITCH_C = Row("switch-c", "v5p:4x8x8")
SWITCH_1_75T = Row("switch-1-75t", "v5p:4x8x8")
RECIPES = [
    Row("mt5-demo", "v5e:2x2"),
    Row("switch-demo", "v5e:2x2"),
    Row("mt5-small", "v5p:2x2x4", KEPT),
    Row("mt5-base", "v5p:2x2x4", KEPT),
    Row("mt5-base", "v5p:2x4x4", KEPT),
    Row("mt5-large", "v5p:4x4x4", KEPT),
    Row("mt5-xl", "v5p:4x4x4", FULL),
    Row("mt5-xxl", "v5p:4x4x8", FULL),
    Row("mswitch-base", "v5p:2x4x4", KEPT),
    Row("t5-base", "v5p:2x2x4", KEPT),
    Row("t5-base", "v5p:2x4x4", KEPT),
    Row("t5-large", "v5p:2x4x4", KEPT),
    T5_XXL,
    Row("switch-base", "v5p:2x4x4", KEPT),
    Row("switch-large", "v5p:4x4x4", KEPT),
    Row("switch-xxl", "v5p:8x8x8", FULL),
    SWITCH_C,
    SWITCH_1_75T,
]
# A dense recipe and its sparse one on one slice, which benchmarks and docs compare.
PAIRS = [
    Row("mt5-base", "v5p:2x2x4", KEPT),
    Row("t5-base", "v5p:2x2x4", KEPT),
    Row("mt5-base", "v5p:2x4x4", KEPT),
    Row("mswitch-base", "v5p:2x4x4", KEPT),
    Row("t5-base", "v5p:2x4x4", KEPT),
    Row("switch-base", "v5p:2x4x4", KEPT),
]
GROUPS = "model.switch.encoder_group_tokens={} model.switch.decoder_group_tokens={}"
SMALLEST = [
    Row("switch-c", "v5p:4x4x8"),
    SWITCH_C,
    Row("switch-c", "tpu7x:4x4x4"),
    Row("switch-c", "tpu7x:4x4x8"),
    Row("switch-c", "v4:8x8x8", GROUPS.format(2048, 912)),
    Row("switch-c", "v4:8x8x16", GROUPS.format(2048, 456)),
]
CHIPS = [SWITCH_C, Row("switch-c", "v5p:16x16x16", GROUPS.format(512, 114))]
INPUTS, TARGETS = 2048 * 512, 2048 * 114  # tokens of a batch


def pooled(topology: str, encoder: int, decoder: int, remat: str) -> Row:
    """Returns Switch-C with the capacity of one pool, in groups of these numbers of tokens."""
    pools = (
        f"model.switch.encoder_pooled_groups={INPUTS // encoder} "
        f"model.switch.decoder_pooled_groups={TARGETS // decoder}"
    )
    first = f"remat={remat} model.switch.capacity_factor_training=1.25"
    return Row("switch-c", topology, f"{first} {GROUPS.format(encoder, decoder)} {pools}")


POOLED = [
    pooled("v5p:4x8x8", 2048, 1824, "attention"),
    pooled("v5p:8x8x8", 2048, 912, "attention"),
    pooled("v5p:8x8x16", 2048, 456, "none"),
    pooled("v5p:8x16x16", 1024, 228, "none"),
    pooled("v5p:16x16x16", 512, 114, "none"),
]
EXPERTS = [
    *(
        Row("switch-c", "v5p:4x8x8", f"model.switch.experts={experts}")
        for experts in (128, 256, 512, 1024)
    ),
    SWITCH_C,
]


def slices(number: int, decoder: int, across: bool) -> Row:
    """Returns Switch-C on slices: each with all parameters, or with experts `across` them."""
    experts = f"mesh.expert_slices={number} mesh.data=1 mesh.expert={128 * number} mesh.model=2"
    mesh = f"mesh.slices={number} {experts if across else ''}".strip()
    return Row("switch-c", "v5p:4x8x8", f"{mesh} {GROUPS.format(2048, decoder)}")


SLICES = [
    SWITCH_C,
    *(slices(2, 912, across) for across in (False, True)),
    *(slices(4, 456, across) for across in (False, True)),
    T5_XXL,
    *(Row("t5-xxl", "v5p:4x8x8", f"mesh.slices={number} {FULL}") for number in (2, 4)),
]
# Rows of comparisons come first.
ORDER = [*SLICES, *POOLED, *EXPERTS, *CHIPS, *PAIRS, *RECIPES, *SMALLEST]


def main(arguments: list[str]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if "--write-only" not in arguments:
        for row in dict.fromkeys(ORDER):
            if not is_made(results.get(row.command, {})):
                results[row.command] = planned(row)
                write(results)
    results = {
        row.command: timed(row, results[row.command]) for row in ORDER if row.command in results
    }
    write(results)
    PAGE.write_text(page(results))
    print(f"{PAGE.relative_to(ROOT)} is written, with {len(results)} plans.")


def write(results: dict[str, dict[str, Any]]) -> None:
    """Writes the results, one line per plan."""
    lines = (f"{json.dumps(command)}: {json.dumps(row)}" for command, row in results.items())
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def is_made(found: dict[str, Any]) -> bool:
    """Returns whether a row has its work, from which times follow, or an error message."""
    return "work" in found or "said" in found


def planned(row: Row) -> dict[str, Any]:
    """Runs the command and returns its figures by name, or its error message."""
    print(row.command, flush=True)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "plan.json"
        words = [*row.command.split()[1:], "--out", str(out), "--no-remedies"]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *words], cwd=ROOT, capture_output=True, text=True
        )
        if not out.exists():
            return {"said": done.stderr.strip().splitlines()[-1]}
        plan = json.loads(out.read_text())
    figures = {figure["name"]: figure["value"] for figure in plan["figures"]}
    kept = {name: plan[name] for name in ("chips", "device_kind", "fits", "work")}
    jax = ".".join(version("jax").split(".")[:2])
    return kept | {"mesh": plan["recipe"]["mesh"], "jax": jax} | figures


def timed(row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """Returns a row with the times of its work at the rates of `pipeline/hardware/peaks.py`."""
    if (work := found.get("work")) is None:
        return found
    recipe = override(named.get(row.recipe), row.settings.split())
    kind, costs = found["device_kind"], [Transfer(**one) for one in work["transfers"]]
    devices = math.prod(found["mesh"][axis] for axis in ("data", "expert", "model"))
    figures = time_figures(
        recipe,
        least_seconds(kind, work["matrix_passes"], work["main_memory_bytes"], costs),
        hops_seconds(kind, costs),
        chips=found["chips"],
        peak=(peak_flops(kind) or 0.0) * devices,
        price=0.0,
    )
    return found | {one.name: one.value for one in figures}


COLUMNS = (
    ("JAX", "jax", "{}"),
    ("chips", "chips", "{:,}"),
    ("data x expert x model", "mesh", "{}"),
    ("GiB per device", "total", "{:.1f}"),
    ("of", "available", "{:.1f}"),
    ("slots wasted at least", "slots wasted at least", "{:.0%}"),
    ("program FLOPs that are the model's", "of these the model's", "{:.0%}"),
    ("step, s", "step, all of these overlapping", "{:.3f}"),
    ("of hops alone", "hops of all collectives, without their bytes", "{:.3f}"),
    ("GB moved per device", "to and from main memory, per device", "{:,.0f}"),
    ("bound by", "binding", "{}"),
    ("MFU at most", "model FLOPs utilization", "{:.0%}"),
    ("tokens/s", "tokens per second", "{:,.0f}"),
    ("chip-hours at least", "chip-hours", "{:,.0f}"),
    ("all-to-alls per switch layer", "all-to-alls per switch layer", "{:g}"),
    ("gathers of activations", "gathers of activations per step", "{:g}"),
)


def table(rows: list[Row], results: dict[str, Any]) -> str:
    """Returns a Markdown table of the rows that have results."""
    titles = ["recipe", "slice", "settings", *(title for title, _, _ in COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * 3}{'---:|' * len(COLUMNS)}"]
    for row in rows:
        settings = " ".join(row.settings.split()) or "-"
        if (found := results.get(row.command)) is None:
            continue
        cells = [cell(found, *column) for column in COLUMNS]
        lines.append(f"| {row.recipe} | {row.topology} | {settings} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(found: dict[str, Any], title: str, name: str, form: str) -> str:
    if "said" in found:
        return found["said"] if title == "chips" else ""
    value = found.get(name)
    if name == "mesh":
        return " x ".join(str(value[axis]) for axis in ("data", "expert", "model"))
    text = "-" if value is None else form.format(value)
    return f"**{text}: does not fit**" if name == "total" and found["fits"] != "yes" else text


def comparison(results: dict[str, Any]) -> dict[str, str]:
    """Returns the numbers of T5-XXL against Switch-C; empty until both have results."""
    names = ("dense", "dense_bound", "sparse", "sparse_bound", "ratio", "to_quality")
    dense, sparse = (results.get(row.command) for row in (T5_XXL, SWITCH_C))
    step = "step, all of these overlapping"
    if not (dense and sparse and step in dense and step in sparse):
        return dict.fromkeys(names, "")
    ratio = dense[step] / sparse[step]
    bounds = dense["binding"], sparse["binding"]
    values = (f"{dense[step]:.3f}", bounds[0], f"{sparse[step]:.3f}", bounds[1])
    half_the_steps = 2 * ratio  # Switch, table 9: -1.096 at 250,000, beside -1.095 at 500,000
    return dict(zip(names, (*values, f"{ratio:.1f}", f"{half_the_steps:.1f}"), strict=True))


def growth(results: dict[str, Any]) -> dict[str, str]:
    """Returns how cost grows with chips where capacity is pooled; empty until all have results."""
    found = [results.get(row.command, {}) for row in POOLED]
    if any("chip-hours" not in one for one in found):
        return {"growth": "", "between": "", "hops": ""}
    first = found[0]["chip-hours"]
    between = [f"{one['chip-hours'] / first:.2f} times on {one['chips']:,}" for one in found[1:-1]]
    hops = found[-1].get("hops of all collectives, without their bytes", 0.0)
    return {
        "growth": f"{found[-1]['chip-hours'] / first:.2f}",
        "between": ", ".join(between),
        "hops": f"{1e3 * hops:.1f}",
    }


def page(results: dict[str, Any]) -> str:
    """Returns the page: the text of scale.md in this folder, with its tables.

    A section that compares rows is left out until all of them have results.
    """
    head, *sections = re.split(r"(?m)^(?=## )", TEXT.read_text())
    tables = {
        "recipes": RECIPES,
        "smallest": SMALLEST,
        "chips": CHIPS,
        "pooled": POOLED,
        "experts": EXPERTS,
        "slices": SLICES,
    }
    compares = {name: rows for name, rows in tables.items() if name != "recipes"}
    compares["dense"] = [T5_XXL, SWITCH_C]
    missing = {
        name for name, rows in compares.items() if any(row.command not in results for row in rows)
    }
    kept = [one for one in sections if not any("{" + name + "}" in one for name in missing)]
    made = {name: table(rows, results) for name, rows in tables.items()}
    return (head + "".join(kept)).format(
        **made, **comparison(results), **growth(results)
    ).rstrip() + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
