"""The gain by number of experts: the scaling curve, from evaluation files alone.

    python experiments/ladder.py [--out runs/experiment]

All runs see the same examples in the same order under the same schedule and are compared at their
last step. Losses are sums and counts per language; the mean is over languages without script
variants. Prints a Markdown table.
"""

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from data.languages import get
from eval.losses import Unit, by_language, from_table

RUNS = ("mt5-short", *(f"switch-{n}-experts" for n in (2, 4, 8, 16, 32)))


def losses(run: Path, step: int) -> dict[str, float]:
    """Returns nats per target token by language."""
    path = run / "evaluation" / f"step={step}.parquet"
    evaluation = by_language(from_table(pq.read_table(path), str(path)))
    nats = evaluation.losses(Unit.NATS_PER_TOKEN).tolist()
    return {
        code: loss
        for code, loss in zip(evaluation.languages, nats, strict=True)
        if not get(code).is_script_variant
    }


def at_step(run: Path, step: int, name: str) -> float:
    """Returns the mean of a metric over the hundred steps up to one."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    values = [line[name] for line in lines if step - 100 < line["step"] <= step]
    return sum(values) / len(values)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/experiment"))
    out: Path = parser.parse_args().out
    step = json.loads((out / RUNS[1] / "recipe.json").read_text())["recipe"]["steps"]
    base = losses(out / RUNS[0], step)
    print(f"At step {step}, seed 0, {len(base)} languages:\n")
    print("| experts | parameters | loss, nats | gain, nats | better in | dropped |")
    print("|---|---|---|---|---|---|")
    for name in RUNS:
        about = json.loads((out / name / "recipe.json").read_text())
        switch = about["recipe"]["model"]["switch"]
        mine = losses(out / name, step)
        gains = [base[code] - mine[code] for code in base]
        dropped = 0.0 if switch is None else at_step(out / name, step, "dropped_share")
        print(
            f"| {'dense' if switch is None else switch['experts']} | {about['parameters']:,} "
            f"| {sum(mine.values()) / len(mine):.4f} | {sum(gains) / len(gains):+.4f} "
            f"| {sum(gain > 0 for gain in gains)} "
            f"| {dropped:.1%} |"
        )


if __name__ == "__main__":
    main()
