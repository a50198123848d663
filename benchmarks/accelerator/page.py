"""The page of an accelerator's measurements: a template and its tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator.kernel_parity import NAMES
from benchmarks.accelerator.steps import TRACED, WARM

TEMPLATE = Path(__file__).with_name("page.md")
UNKNOWN = "-"


def page(result: dict[str, Any]) -> str:
    """Returns the page of all measurements."""
    machine = result["machine"]
    memory = machine["gibibytes"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        devices=machine["devices"],
        kind=machine["kind"],
        memory="" if memory is None else f"{memory:.1f} GiB per device for programs. ",
        driver=machine["driver"] or "unknown",
        versions=", ".join(f"{name} {found}" for name, found in machine["versions"].items()),
        warm=WARM,
        traced=TRACED,
        steps=steps(sides_of(result)),
        ratio=ratio(result),
        profile=profile(sides_of(result)),
        kernels=kernels(result["kernels"]),
        bfloat16=bfloat16(result["bfloat16"]),
        bits=bits(result["same_bits"]),
    )


def sides_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the measured steps, the dense ones first."""
    names = ("dense", "dense, rows of the sparse", "sparse")
    return [result[name] for name in names if name in result]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table: the first column to the left, numbers to the right."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(value: float | None) -> str:
    """Returns a share in percent; a dash for None."""
    return UNKNOWN if value is None else f"{value:.1%}"


def steps(sides: Sequence[dict[str, Any]]) -> str:
    """Returns the table of step times beside their bounds."""
    titles = ("recipe", "parameters", "GiB planned", "step, s", "bound, s", "MFU", "MFU at most")
    rows = [
        [
            f"{side['recipe']}, remat={side['remat']}",
            f"{side['parameters'] / 1e9:.2f}e9",
            f"{side['planned_gibibytes']:.1f}",
            "{:.4g} ({:.4g} to {:.4g})".format(side["seconds"], *side["seconds_low_high"]),
            f"{side['bound_seconds']:.4g}, {side['bound_by']}" if "bound_by" in side else UNKNOWN,
            share(side.get("mfu")),
            share(side.get("mfu_at_most")),
        ]
        for side in sides
    ]
    return table(titles, rows)


def ratio(result: dict[str, Any]) -> str:
    """Returns the sentence that compares dense and sparse."""
    return (
        f"At the same rows, in one process, a sparse step takes {result['sparse_over_dense']:.2f} "
        "times a dense one."
    )


def profile(sides: Sequence[dict[str, Any]]) -> str:
    """Returns the table of shares of time."""
    kinds = list(sides[0]["profile"]["shares"])
    rows = [
        [
            side["recipe"],
            *(share(side["profile"]["shares"][kind]) for kind in kinds),
            share(side["profile"]["collectives_alone"]),
            share(side["profile"]["idle"]),
        ]
        for side in sides
    ]
    return table(["recipe", *kinds, "collectives and nothing else", "idle"], rows)


def kernels(found: dict[str, Any]) -> str:
    """Returns the table of the kernels' errors."""
    rows = [
        [f"{kind}: {side}", *(f"{errors[name]:.1e}" for name in NAMES)]
        for kind, sides in found.items()
        for side, errors in sides.items()
    ]
    return table(["attention", *NAMES], rows)


def bfloat16(found: dict[str, float]) -> str:
    """Returns the sentence about precision."""
    return (
        f"One batch of {found['rows']} rows from the same weights: the loss ({found['loss']:.3f}) "
        f"differs by {found['loss_difference']:.1e} of it, the gradient by "
        f"{found['gradient_difference']:.1e} of its norm; the norms' ratio is "
        f"{found['gradient_norm_ratio']:.4f}."
    )


def bits(found: dict[str, bool]) -> str:
    """Returns whether repetitions agree, one line per kind."""
    words = {True: "the same bits", False: "other bits"}
    return "\n".join(f"- two processes {name}: {words[same]}" for name, same in found.items())
