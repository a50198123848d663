"""Compares first weights of T5's variance with a tenth of it, on each side.

    python experiments/first_weights.py [--out runs/experiment]

Comes after `multilingual.py`, whose tokens and recipes it uses at half their length. Four seeds per
side and scale. Prints held-out losses as Markdown. Results: docs/decisions/first-weights.md.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import tyro
from ladder import losses
from lanes import run_all
from multilingual import HALF, SHORT, pretrain

SCALES = ("1", "0.1")
SEEDS = (0, 1, 2, 3)
SIDES = ("mt5", "switch")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment is."""

    out: Path = Path("runs/experiment")
    """Directory that `multilingual.py` wrote; everything is made there."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints a table."""
    run_all(
        [
            pretrain(
                arguments.out,
                name(side, scale, seed),
                f"{side}-experiment",
                *SHORT,
                f"--set=seed={seed}",
                f"--set=model.initialization_scale={scale}",
            )
            for seed in SEEDS
            for side in SIDES
            for scale in SCALES
        ]
    )
    print(table(arguments.out))


def name(side: str, scale: str, seed: int) -> str:
    """Returns the name of a run."""
    return f"{side}-scale-{scale}-seed-{seed}"


def table(out: Path) -> str:
    """Returns each side's losses at each scale: nats per target token, mean of languages."""
    lines = [f"| held-out nats | {' | '.join(map(str, SEEDS))} | mean | deviation |"]
    lines.append("|---" * (len(SEEDS) + 3) + "|")
    for side in SIDES:
        for scale in SCALES:
            seeds = [fmean(losses(out / name(side, scale, seed), HALF).values()) for seed in SEEDS]
            cells = [f"{loss:.3f}" for loss in (*seeds, fmean(seeds), stdev(seeds))]
            lines.append(f"| {side}, {scale} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
