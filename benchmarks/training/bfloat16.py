"""Training in bfloat16 beside its float32 twin: the same recipe, seed, tokens and order of rows.

    python benchmarks/training/bfloat16.py [--tokens runs/demo/tokens] [--steps 1000]

Roundings change which expert a nearly tied token takes, so the twins drift apart as any two runs
do. What counts is whether bfloat16 ends at another loss: its difference from float32 stands beside
that of float32 with another seed, which is chance. Losses are nats per target token: of training
as means of 50 steps, and of the held-out pages at intervals. CPUs emulate bfloat16: they round as
accelerators do, but their speed means nothing. Writes benchmarks/results/bfloat16.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RESULT = Path(__file__).parents[1] / "results" / "bfloat16.json"
RECIPES = ("switch-demo", "mt5-demo")
SIDES = {
    "float32": ["model.activation_dtype=float32"],
    "bfloat16": ["model.activation_dtype=bfloat16"],
    "float32, another seed": ["model.activation_dtype=float32", "seed=1"],
}
LOGGED, EVALUATIONS = 50, 4
SIZES = (
    "rows=8",  # a step of some tens of milliseconds, also where bfloat16 is emulated
    "model.vocabulary_rows=0",  # as many as the tokens have
)


def losses(recipe: str, settings: list[str], tokens: Path, steps: int, out: Path) -> dict[str, Any]:
    """Trains and returns the losses of training and of held-out pages, by step."""
    intervals = [f"evaluate_every={steps // EVALUATIONS}", f"log_every={LOGGED}"]
    command = [sys.executable, "-m", "pipeline.cli", "pretrain", f"--recipe={recipe}"]
    command += [f"--tokens={tokens}", f"--out={out}", "--set", f"steps={steps}", *SIZES]
    subprocess.run(
        [*command, f"checkpoint_every={steps}", *intervals, *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        "training": {line["step"]: line["loss_nats"] for line in lines},
        "held_out": {step: held_out(out, step) for step in evaluated(out)},
    }


def evaluated(out: Path) -> list[int]:
    """Returns the steps with an evaluation."""
    return sorted(int(path.stem[5:]) for path in (out / "evaluation").glob("step=*.parquet"))


def held_out(out: Path, step: int) -> float:
    """Returns the loss of the held-out pages, over all languages."""
    table = pq.read_table(out / f"evaluation/step={step}.parquet")
    nats, tokens = (sum(table[name].to_pylist()) for name in ("loss_nats", "target_tokens"))
    return nats / tokens


def differences(sides: dict[str, Any]) -> dict[str, Any]:
    """Returns each side's losses minus those of float32, by step."""
    return {
        name: {
            kind: {step: side[kind][step] - loss for step, loss in sides["float32"][kind].items()}
            for kind in side
        }
        for name, side in sides.items()
        if name != "float32"
    }


def main() -> None:
    """Runs every side of both recipes, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    runs: dict[str, dict[str, Any]] = {recipe: {} for recipe in RECIPES}
    for name, settings in SIDES.items():
        for recipe, sides in runs.items():
            with tempfile.TemporaryDirectory() as directory:
                out = Path(directory) / "run"
                sides[name] = losses(recipe, settings, arguments.tokens, arguments.steps, out)
            print(recipe, name, sides[name]["held_out"], flush=True)
            results = {
                recipe: {"losses": sides, "minus_float32": differences(sides)}
                for recipe, sides in runs.items()
            }
            RESULT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
