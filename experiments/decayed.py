"""What sparsity gains at the end of runs of three lengths, with four seeds per side.

    python experiments/decayed.py [--documents DIR] [--web GLOB] [--out DIR]

Two runs compare at the end of their decays. Each seed of each side has one trunk, whose rate is
T5's 1 / sqrt(step) and does not depend on the length. Branches leave it at three quarters of their
length and lower the rate to 0, so each ends as a run of that length would end. The trunk's own
evaluations show when losses fall, and `falls.py` asks its kept checkpoints what was learned then.
Its branches are what a report compares.

Each seed takes about two hours on one core, for both sides. A finished run is not repeated, and one
that was cut short resumes. Beside other work:

    taskset --cpu-list 1 nice -n 19 python experiments/decayed.py
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import multilingual
import tyro
from lanes import Task, run_chains

SIDES = ("switch", "mt5")
# The first branch leaves at 2,976, twice the step at which losses fall (docs/results/falls.md).
LENGTHS = (3_968, 7_936, 15_872)
STEADY = 3 / 4  # share of a run before its decay
# Steps between kept checkpoints. All branches leave at multiples of it, and falls of the loss take
# four times as long.
KEPT = 124
TRUNK = ("optimizer.decay_from=1", f"checkpoint_every={KEPT}", f"keep_every={KEPT}")


@dataclass(frozen=True, kw_only=True)
class Arguments(multilingual.Arguments):
    """Where the text is, and where results are written."""

    out: Path = Path("runs/decayed")
    """Directory for all results."""
    seeds: int = 4
    """Number of seeds per side; with fewer, the report is that of the seeds so far."""
    lengths: int = len(LENGTHS)
    """Number of lengths, the shortest first; a later start that names more makes trunks longer."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, seed by seed, and writes the report."""
    multilingual.prepare(arguments, arguments.out, multilingual.ALL_LANGUAGES)
    compare(arguments)


def compare(arguments: Arguments, *settings: str) -> None:
    """Runs both sides with these further settings on prepared text, and writes the report."""
    seeds, lengths = range(arguments.seeds), LENGTHS[: arguments.lengths]
    run_chains(
        [
            chain(arguments.out, side, side, seed, lengths, *settings)
            for seed in seeds
            for side in SIDES
        ]
    )
    mt5, switch = (runs_of(side, seeds, lengths) for side in ("mt5", "switch"))
    name = f"report-{len(seeds)}-seeds-{len(lengths)}-lengths"
    multilingual.report(arguments.out, name, mt5, switch)


def runs_of(name: str, seeds: Sequence[int], lengths: Sequence[int]) -> list[str]:
    """Returns the names of the runs of all seeds and lengths."""
    return [f"{name}-{seed}/{length}" for seed in seeds for length in lengths]


def chain(
    out: Path, name: str, side: str, seed: int, lengths: Sequence[int], *settings: str
) -> Sequence[Task]:
    """Returns a trunk and its branches of these lengths, in order; no trunk is made shorter."""
    fixed = "--set", f"seed={seed}", *settings
    place = f"{name}-{seed}/trunk"
    steps = max(branch_at(lengths[-1]), steps_of(out / place))
    trunk = multilingual.pretrain(
        out, place, f"{side}-multilingual", *fixed, *TRUNK, f"steps={steps}"
    )
    return [trunk, *(branch(out, name, side, seed, length, *settings) for length in lengths)]


def branch(out: Path, name: str, side: str, seed: int, length: int, *settings: str) -> Task:
    """Returns the run of this length that leaves a trunk."""
    return multilingual.pretrain(
        out,
        f"{name}-{seed}/{length}",
        f"{side}-multilingual",
        f"--trunk={out}/{name}-{seed}/trunk",
        f"--branch-at={branch_at(length)}",
        *("--set", f"seed={seed}", *settings),
        *(f"steps={length}", f"evaluate_every={length}"),
        f"checkpoint_every={4 * KEPT}",  # what a kill may cost
    )


def steps_of(run: Path) -> int:
    """Returns the steps of a run's recipe, and 0 for a run that has not begun."""
    about = run / "recipe.json"
    return json.loads(about.read_text())["recipe"]["steps"] if about.exists() else 0


def branch_at(length: int) -> int:
    """Returns the kept checkpoint at which a run of this length leaves the trunk."""
    return KEPT * round(STEADY * length / KEPT)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
