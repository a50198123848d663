"""Measures this machine's accelerator in about ten minutes: `make accelerator`.

    python -m benchmarks.accelerator [--out DIRECTORY]

Kernels beside plain attention, steps of a dense and a sparse recipe at the batch that fits, MFU
beside the plan's bound, where the time goes, bfloat16 beside float32, and whether a repetition has
the same bits. On an accelerator the results are benchmarks/results/accelerator.json and
docs/results/accelerator.md. On a CPU, sizes are tiny and both files are in build/accelerator.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accelerator.repetition import repetitions
from pipeline.hardware.compiler_flags import (
    FlagSet,
    accelerator,
    add_flags,
    leave_alone_without_chips,
    set_compiler_flags,
)

# Programs this small take longer to optimize than to run.
UNOPTIMIZED = FlagSet("jaxlib", "XLA_FLAGS", {"xla_backend_optimization_level": "0"})
ROOT = Path(__file__).parents[2]
REPEATED = ("switch-demo", ("rows=32",))


def main() -> None:
    leave_alone_without_chips()  # before anything imports JAX
    from benchmarks.accelerator.sizes import SMALL, WHOLE

    whole = accelerator() is not None and os.environ.get("JAX_PLATFORMS") != "cpu"
    if not whole:
        os.environ["JAX_PLATFORMS"] = "cpu"
        add_flags(UNOPTIMIZED, os.environ)
    parser = argparse.ArgumentParser(description="Measures this machine's accelerator.")
    parser.add_argument("--out", type=Path, default=None, help="directory for both files")
    out = parser.parse_args().out
    sizes = WHOLE if whole else SMALL
    print("two processes: the same bits?", flush=True)
    same = repetitions(REPEATED if whole else sizes.sparse)
    set_compiler_flags(deterministic=False)
    result = {"same_bits": same} | measure(sizes)
    write(result, out or (None if whole else ROOT / "build/accelerator"))


def measure(sizes: Any) -> dict[str, Any]:
    """Returns all measurements of this process, of the sizes in sizes.py."""

    from benchmarks.accelerator.kernel_parity import parity
    from benchmarks.accelerator.machine import description, here
    from benchmarks.accelerator.precision import difference
    from benchmarks.accelerator.sizes import WHOLE, candidates
    from benchmarks.accelerator.steps import fitting, measured

    devices = here()
    if sizes is WHOLE and devices.memory is None:
        sys.exit("This machine has an accelerator and JAX finds none; install its plugin first.")
    print(f"{len(devices.devices)} x {devices.kind}: kernels", flush=True)
    found: dict[str, Any] = {"machine": description(devices)}
    found["kernels"] = parity(sizes.attention)
    count = len(devices.devices)
    planned = {
        side: fitting(candidates(recipe, sizes, count), devices)
        for side, recipe in (("dense", sizes.dense), ("sparse", sizes.sparse))
    }
    rows = min(step.recipe.rows for step in planned.values())
    if planned["dense"].recipe.rows > rows:
        same = replace(planned["dense"].recipe, rows=rows)
        planned["dense, rows of the sparse"] = fitting([same], devices)
    for side, step in planned.items():
        print(f"  {side}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            found[side] = measured(step, sizes.steps, Path(directory))
    dense = found.get("dense, rows of the sparse", found["dense"])
    found["sparse_over_dense"] = found["sparse"]["seconds"] / dense["seconds"]
    print("  bfloat16 beside float32", flush=True)
    recipe = planned["dense"].recipe
    found["bfloat16"] = difference(recipe, devices, sizes.precision_rows)
    return found


def write(result: dict[str, Any], out: Path | None) -> None:
    """Writes the numbers and their page; None stands for the places in the repository."""
    from benchmarks.accelerator.page import page

    numbers = (out or ROOT / "benchmarks/results") / "accelerator.json"
    text = (out or ROOT / "docs/results") / "accelerator.md"
    numbers.parent.mkdir(parents=True, exist_ok=True)
    numbers.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text.write_text(page(result), encoding="utf-8")
    print(f"{numbers} and {text} are written.")


if __name__ == "__main__":
    sys.exit(main())
