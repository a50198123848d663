"""What balancing does for each language: the auxiliary loss, biases, a shared expert, and nothing.

    python experiments/balancers.py --tokens TOKENS [--out DIR] [--seeds 2] [--steps 4032]

All runs are `switch-multilingual` with 40 million tokens, and differ in what keeps experts evenly
loaded. Experts have capacity for the whole batch, in training and in evaluation, as much as an even
share needs (1.0) or a quarter more (1.25):

    none        nothing
    groups      the auxiliary loss of groups of 512 inputs or 448 targets
    batch       the same over the whole batch
    sign        a bias per expert, moved by a fixed step towards the mean load
    quantile    a bias per expert, moved to where it would have had its even share
    shared      `batch`, and half of each expert's width in one that all tokens go through

Writes balancers.csv, a row per run and language with loss and dropped share, and balancers.md. A
finished run is not repeated, and one that was cut short resumes; each of the 24 takes about 40
minutes on one core. Beside other work:

    taskset --cpu-list 1 nice -n 19 python experiments/balancers.py --tokens TOKENS
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tyro
from ladder import losses
from lanes import Task, run_all
from word_pieces import ROWS

RECIPE = "switch-multilingual"
GROUPS = (
    *("model.switch.encoder_group_tokens=512", "model.switch.encoder_pooled_groups=16"),
    *("model.switch.decoder_group_tokens=448", "model.switch.decoder_pooled_groups=4"),
)
OVER_BATCH, NO_LOSS = "model.switch.balance_loss_over=batch", "model.switch.balance_loss_weight=0"
BALANCERS: dict[str, tuple[str, ...]] = {
    "batch": (OVER_BATCH,),
    "groups": (),
    "sign": (NO_LOSS, "model.switch.bias_rate=0.01"),
    "quantile": (NO_LOSS, "model.switch.quantile_rate=1"),
    "shared": (OVER_BATCH, "model.mlp=32", "model.switch.shared_mlp=32"),
    "none": (NO_LOSS,),
}
CAPACITIES = ("1.0", "1.25")
FIELDS = "balancer", "capacity", "seed", "language", "loss_nats_per_token", "dropped_share"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to train on, and where results are written."""

    tokens: str
    """Tokens of the 101 languages, as experiments/word_pieces.py makes them."""
    out: Path = Path("runs/balancers")
    """Directory for all results."""
    seeds: int = 2
    """Number of seeds."""
    steps: int = 4_032
    """Steps per run, of 9,984 tokens."""
    balancers: tuple[str, ...] = tuple(BALANCERS)
    """Balancers to compare, the first of which the others are compared with."""
    capacities: tuple[str, ...] = CAPACITIES
    """Capacities, relative to an even share."""


class Run(NamedTuple):
    """One run of the experiment."""

    balancer: str
    capacity: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its directory."""
        return f"{self.balancer}-{self.capacity}-{self.seed}"


class OfLanguage(NamedTuple):
    """One language in one run: nats per target token, and the share of assignments dropped."""

    loss: float
    dropped: float


Results = Mapping[Run, Mapping[str, OfLanguage]]


def main(arguments: Arguments) -> None:
    """Runs what is not finished, one seed after the other, and writes both files."""
    for seed in range(arguments.seeds):
        run_all([pretrain(arguments, run) for run in runs_of(arguments, [seed])])
        runs = runs_of(arguments, range(seed + 1))
        write(arguments.out, {run: of_languages(arguments, run) for run in runs})


def runs_of(arguments: Arguments, seeds: Iterable[int]) -> list[Run]:
    """Returns the runs of these seeds."""
    return [
        Run(name, capacity, seed)
        for seed in seeds
        for capacity in arguments.capacities
        for name in arguments.balancers
    ]


def pretrain(arguments: Arguments, run: Run) -> Task:
    """Returns one run, evaluated with the capacity of its training."""
    factors = (
        f"model.switch.capacity_factor_{phase}={run.capacity}"
        for phase in ("training", "evaluation")
    )
    command = (
        "pretrain",
        f"--recipe={RECIPE}",
        f"--tokens={arguments.tokens}",
        f"--out={arguments.out / run.name}",
        "--set",
        *(f"seed={run.seed}", f"steps={arguments.steps}", f"evaluate_every={arguments.steps}"),
        *("checkpoint_every=496", ROWS),
        *GROUPS,
        *factors,
        *BALANCERS[run.balancer],
    )
    return Task(arguments.out / "logs" / f"{run.name}.log", command)


def of_languages(arguments: Arguments, run: Run) -> dict[str, OfLanguage]:
    """Returns the results of a finished run by language."""
    directory = arguments.out / run.name
    dropped = dropped_shares(directory, arguments.steps)
    found = losses(directory, arguments.steps)
    return {code: OfLanguage(loss, dropped[code]) for code, loss in found.items()}


def dropped_shares(run: Path, step: int) -> dict[str, float]:
    """Returns the dropped share of each language's held-out assignments, over all layers."""
    table = pq.read_table(run / "evaluation" / f"routing-step={step}.parquet")
    sums = table.group_by("language").aggregate([("dropped", "sum"), ("choices", "sum")])
    return {
        row["language"]: row["dropped_sum"] / max(row["choices_sum"], 1) for row in sums.to_pylist()
    }


def write(out: Path, results: Results) -> None:
    """Writes balancers.csv and balancers.md."""
    with (out / "balancers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for run, found in results.items():
            for code, of in found.items():
                writer.writerow([*run, code, f"{of.loss:.5f}", f"{of.dropped:.5f}"])
    (out / "balancers.md").write_text("\n".join(tables(results)) + "\n")


def tables(results: Results) -> Iterator[str]:
    """Yields the lines of a table over all languages, and of one per capacity by language."""
    names, capacities = (list(dict.fromkeys(part)) for part in list(zip(*results, strict=True))[:2])
    yield "Held-out nats per target token and dropped shares, means of languages and seeds.\n"
    yield "| balancer | capacity | loss | seeds differ by | better languages | dropped | at most |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in names:
        for capacity in capacities:
            found = cells(results, name, names[0], capacity)
            yield f"| {name} | {capacity} | {' | '.join(found)} |"
    yield f"\nBetter: a lower loss than with `{names[0]}` at the same capacity."
    for capacity in capacities:
        yield f"\nCapacity {capacity}: nats per target token, and dropped share.\n"
        yield f"| language | {' | '.join(names)} |"
        yield f"|---|{'---:|' * len(names)}"
        means = [mean_of_seeds(results, name, capacity) for name in names]
        for code in means[0]:
            row = (f"{of[code].loss:.4f}, {of[code].dropped:.1%}" for of in means)
            yield f"| {code} | {' | '.join(row)} |"


def cells(results: Results, name: str, than: str, capacity: str) -> Sequence[str]:
    """Returns a balancer's numbers over all languages at one capacity, beside another's."""
    mean, beside = (mean_of_seeds(results, one, capacity) for one in (name, than))
    of_seeds = [fmean(of.loss for of in found.values()) for found in seeds(results, name, capacity)]
    dropped = [of.dropped for of in mean.values()]
    better = sum(mean[code].loss < beside[code].loss for code in mean)
    return (
        f"{fmean(of_seeds):.4f}",
        f"{np.ptp(of_seeds):.4f}",
        "–" if name == than else f"{better} of {len(mean)}",
        f"{fmean(dropped):.1%}",
        f"{max(dropped):.1%}",
    )


def seeds(results: Results, name: str, capacity: str) -> list[Mapping[str, OfLanguage]]:
    """Returns the results of each seed of a balancer at a capacity."""
    return [found for run, found in results.items() if run[:2] == (name, capacity)]


def mean_of_seeds(results: Results, name: str, capacity: str) -> dict[str, OfLanguage]:
    """Returns the mean of a balancer's seeds at a capacity, by language."""
    found = seeds(results, name, capacity)
    return {
        code: OfLanguage(*(fmean(part) for part in zip(*(of[code] for of in found), strict=True)))
        for code in found[0]
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
