"""How many languages look better by chance: the distribution under no difference.

    python benchmarks/reports/null_counts.py [--draws 20000]

A count such as "better in 99 of 101 languages" is evidence only beyond what seeds do to all
languages at once. Each side of the published comparison has four seeds per length, whose final
losses give a covariance over languages. Two sides without a difference are drawn from these
(normal, mean 0, four seeds each, independent), and the languages in which one is better are
counted. Printed are, by length, the published count, the 97.5th percentile, and the share of draws
that reach the count. Pages are the same for both sides and add no draw.

Drawn from a known covariance of four seeds, sides without a difference exceed this percentile in
3.5 to 3.8 % of 400 trials instead of 2.5. With two seeds they do in 12 to 15 %, and the percentiles
of pairs among four published seeds lie between 58 and 100: so comparisons of two are left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro
from jaxtyping import Float, Int

RUNS = Path("docs/results/long/runs")
SIDES = "mt5", "switch"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """How many comparisons are drawn."""

    draws: int = 20_000
    """Draws."""


def losses(run: Path) -> Float[np.ndarray, " languages"]:
    """Returns the final loss of each language without script variants, in nats per token."""
    last = max(run.glob("evaluation/step=*.parquet"), key=lambda path: int(path.stem[5:]))
    table = pq.read_table(last).group_by("language")
    sums = table.aggregate([("loss_nats", "sum"), ("target_tokens", "sum")]).sort_by("language")
    rows = [row for row in sums.to_pylist() if not row["language"].endswith("-Latn")]
    return np.array([row["loss_nats_sum"] / row["target_tokens_sum"] for row in rows])


def drawn_means(
    rng: np.random.Generator, side: Float[np.ndarray, "seeds languages"], draws: int
) -> Float[np.ndarray, "draws languages"]:
    """Returns means over as many new seeds, around 0, with the covariance of a side's seeds."""
    seeds = len(side)
    centred = (side - side.mean(axis=0)) / ((seeds - 1) * seeds) ** 0.5
    return rng.normal(size=(draws, seeds)) @ centred


def counts_by_chance(
    sides: tuple[Float[np.ndarray, "seeds languages"], ...], draws: int
) -> Int[np.ndarray, " draws"]:
    """Returns the number of languages in which one side is better, per draw."""
    rng = np.random.default_rng(0)
    baseline, candidate = (drawn_means(rng, side, draws) for side in sides)
    return (candidate < baseline).sum(axis=1)


def main(arguments: Arguments) -> None:
    """Prints the count of each length, and what chance makes."""
    for steps in sorted({int(run.name) for run in RUNS.glob("*/*")}):
        sides = tuple(
            np.stack([losses(run) for run in sorted(RUNS.glob(f"{side}-*/{steps}"))])
            for side in SIDES
        )
        print(f"{steps} steps: {count(sides, arguments.draws)}")


def count(sides: tuple[Float[np.ndarray, "seeds languages"], ...], draws: int) -> str:
    """Returns in words how many languages look better, and in how many they do by chance."""
    found = int((sides[1].mean(axis=0) < sides[0].mean(axis=0)).sum())
    by_chance = counts_by_chance(sides, draws)
    return (
        f"better in {found} of {sides[0].shape[1]}; by chance at most "
        f"{np.percentile(by_chance, 97.5):.0f} in 97.5 % of draws, and as many in "
        f"{(by_chance >= found).mean():.1%} ({len(sides[0])} seeds per side)"
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
