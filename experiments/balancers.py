"""What balancing does for each language: the auxiliary loss, biases, a shared expert, and nothing.

    python experiments/balancers.py --tokens TOKENS [--out DIR] [--seeds 2] [--steps 4032]

All runs are `switch-multilingual` with 40 million tokens, and differ in what keeps experts evenly
loaded. Experts have capacity for the whole batch: a quarter more positions, padding included, than
an even share (1.25). The last weights are evaluated with that and with an even share's (1.0):

    none        nothing
    groups      the auxiliary loss of groups of 512 inputs or 448 targets
    batch       the same over the whole batch
    sign        a bias per expert, moved by a fixed step towards the mean load
    quantile    a bias per expert, moved to where it would have had its even share
    shared      `batch`, and half of each expert's width in one that all tokens go through: equal
                FLOPs, a fifth fewer parameters

The rate falls over the last quarter: by then all runs have had the fall of their loss that
docs/results/falls.md describes, whose time is chance.

Writes balancers.csv, a row per run, capacity and language with loss and dropped shares, and
balancers.md. A run whose rows are in balancers.csv is not repeated, even where its directory is
gone, and one that was cut short resumes. Each of the 12 takes about 40 minutes on one core. Beside
other work:

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

from data.files.paths import exists
from pipeline.arguments import CacheOptions
from pipeline.recipe.overrides import override
from pipeline.runs.directory import evaluation_file
from pipeline.runs.finished import write_evaluation
from pipeline.runs.opened_run import load_run, restore, trainer_here
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.evaluation import HeldOut

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
EVALUATED_WITH = "model.switch.capacity_factor_evaluation"
TRAINED, CAPACITIES = "1.25", ("1.0", "1.25")
RUN_FIELDS = "balancer", "seed", "steps", "decay_from", "capacity", "language"
FIELDS = (*RUN_FIELDS, "loss_nats_per_token", "encoder_dropped_share", "decoder_dropped_share")


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
    decay_from: float = 0.75
    """Share of the steps after which the learning rate falls."""
    balancers: tuple[str, ...] = tuple(BALANCERS)
    """Balancers to compare, the first of which the others are compared with."""


class Run(NamedTuple):
    """One run of the experiment."""

    balancer: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its directory."""
        return f"{self.balancer}-{self.seed}"


class OfLanguage(NamedTuple):
    """A language in an evaluation: nats per target token, and shares of assignments dropped."""

    loss: float
    encoder: float
    decoder: float


Evaluated = tuple[Run, str]  # a run, and the capacity of its evaluation
Results = dict[Evaluated, dict[str, OfLanguage]]


def main(arguments: Arguments) -> None:
    """Runs what is not finished, one seed after the other, and writes both files."""
    table = arguments.out / "balancers.csv"
    results = read(table, arguments) if table.exists() else {}
    for seed in range(arguments.seeds):
        runs = [Run(name, seed) for name in arguments.balancers]
        runs = [run for run in runs if any((run, c) not in results for c in CAPACITIES)]
        run_all([pretrain(arguments, run) for run in runs])
        for run in runs:
            evaluate_tighter(arguments, run)
            results |= {(run, c): of_languages(arguments, run, c) for c in CAPACITIES}
        write(arguments, results)


def pretrain(arguments: Arguments, run: Run) -> Task:
    """Returns one run, evaluated with the capacity of its training."""
    factors = (
        f"model.switch.capacity_factor_{phase}={TRAINED}" for phase in ("training", "evaluation")
    )
    command = (
        "pretrain",
        f"--recipe={RECIPE}",
        f"--tokens={arguments.tokens}",
        f"--out={arguments.out / run.name}",
        "--set",
        *(f"seed={run.seed}", f"steps={arguments.steps}", f"evaluate_every={arguments.steps}"),
        *("checkpoint_every=496", ROWS, f"optimizer.decay_from={arguments.decay_from}"),
        *GROUPS,
        *factors,
        *BALANCERS[run.balancer],
    )
    return Task(arguments.out / "logs" / f"{run.name}.log", command)


def place_of(arguments: Arguments, run: Run, capacity: str) -> Path:
    """Returns the directory that holds the evaluation of a run at a capacity."""
    directory = arguments.out / run.name
    return directory if capacity == TRAINED else directory / f"capacity-{capacity}"


def evaluate_tighter(arguments: Arguments, run: Run) -> None:
    """Scores the last weights of a run with the capacity that it was not trained with."""
    place = place_of(arguments, run, CAPACITIES[0])
    if exists(evaluation_file(place, arguments.steps)):
        return
    directory = arguments.out / run.name
    recipe = override(load_run(directory)[0], (f"{EVALUATED_WITH}={CAPACITIES[0]}",))
    trainer = trainer_here(recipe)
    arrays, step = restore(directory, trainer, arguments.steps)
    blocks = open_blocks(arguments.tokens, CacheOptions())
    scored = HeldOut(blocks, recipe.lengths, recipe.rows).score(trainer, arrays)
    assert scored is not None  # nothing stops it
    write_evaluation(place, step, scored)


def of_languages(arguments: Arguments, run: Run, capacity: str) -> dict[str, OfLanguage]:
    """Returns the results of a finished run at a capacity by language."""
    directory = place_of(arguments, run, capacity)
    dropped = dropped_shares(directory, arguments.steps)
    by_language = losses(directory, arguments.steps)
    return {
        code: OfLanguage(loss, dropped[code, "encoder"], dropped[code, "decoder"])
        for code, loss in by_language.items()
    }


def dropped_shares(run: Path, step: int) -> dict[tuple[str, str], float]:
    """Returns the dropped share of held-out assignments by language and stack."""
    table = pq.read_table(run / "evaluation" / f"routing-step={step}.parquet")
    sums = table.group_by(["language", "stack"]).aggregate([("dropped", "sum"), ("choices", "sum")])
    return {
        (row["language"], row["stack"]): row["dropped_sum"] / max(row["choices_sum"], 1)
        for row in sums.to_pylist()
    }


def read(path: Path, arguments: Arguments) -> Results:
    """Returns the results that a balancers.csv holds.

    Raises:
        SystemExit: if it holds runs of another length or schedule, or has other columns.
    """
    asked = [str(arguments.steps), str(arguments.decay_from)]
    results: Results = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            known = tuple(row) == FIELDS
            there = [row["steps"], row["decay_from"]] if known else "other columns"
            if there != asked:
                raise SystemExit(
                    f"Runs of {asked} (steps, decay_from) were asked for, and {path} holds "
                    f"{there}; name another --out."
                )
            run = Run(row["balancer"], int(row["seed"]))
            of = OfLanguage(*(float(row[name]) for name in FIELDS[len(RUN_FIELDS) :]))
            results.setdefault((run, row["capacity"]), {})[row["language"]] = of
    return results


def write(arguments: Arguments, results: Results) -> None:
    """Writes balancers.csv and balancers.md."""
    out, of_all = arguments.out, (arguments.steps, arguments.decay_from)
    with (out / "balancers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for (run, capacity), languages in results.items():
            for code, of in languages.items():
                numbers = (f"{number:.5f}" for number in of)
                writer.writerow((run.balancer, run.seed, *of_all, capacity, code, *numbers))
    lines = tables(results, arguments.balancers[0])
    (out / "balancers.md").write_text("\n".join(lines) + "\n")


def tables(results: Results, than: str) -> Iterator[str]:
    """Yields the lines of a table over all languages, and of one per capacity by language.

    Args:
        results: results of all runs.
        than: balancer that the others are compared with.
    """
    names = list(dict.fromkeys(run.balancer for run, _ in results))
    yield "Held-out nats per target token and dropped shares, means of languages and seeds.\n"
    yield (
        "| balancer | capacity | seeds | loss | seeds differ by | better languages "
        "| dropped in encoder | in decoder | at most |"
    )
    yield f"|---|{'---:|' * 8}"
    for name in names:
        for capacity in CAPACITIES:
            texts = cells(results, name, than, capacity)
            yield f"| {name} | {capacity} | {' | '.join(texts)} |"
    yield (
        f"\nBetter: a lower loss than with `{than}` at the same capacity, over the same seeds. "
        "At most: of one language, in the decoder."
    )
    for capacity in CAPACITIES:
        yield f"\nCapacity {capacity}: nats per target token, and share dropped in the decoder.\n"
        yield f"| language | {' | '.join(names)} |"
        yield f"|---|{'---:|' * len(names)}"
        means = [mean_of(seeds(results, name, capacity).values()) for name in names]
        for code in means[0]:
            row = (f"{of[code].loss:.4f}, {of[code].decoder:.1%}" for of in means)
            yield f"| {code} | {' | '.join(row)} |"


def cells(results: Results, name: str, than: str, capacity: str) -> Sequence[str]:
    """Returns a balancer's numbers over all languages at one capacity, beside another's."""
    runs, beside = (seeds(results, side, capacity) for side in (name, than))
    both = runs.keys() & beside.keys()
    mean, here = mean_of(runs.values()), mean_of([runs[seed] for seed in both])
    there = mean_of([beside[seed] for seed in both])
    losses_of = [fmean(of.loss for of in languages.values()) for languages in runs.values()]
    better = sum(here[code].loss < there[code].loss for code in here)
    return (
        f"{len(runs)}",
        f"{fmean(losses_of):.4f}",
        f"{np.ptp(losses_of):.4f}" if len(runs) > 1 else "–",
        "–" if name == than else f"{better} of {len(here)}",
        f"{fmean(of.encoder for of in mean.values()):.1%}",
        f"{fmean(of.decoder for of in mean.values()):.1%}",
        f"{max(of.decoder for of in mean.values()):.1%}",
    )


def seeds(results: Results, name: str, capacity: str) -> dict[int, Mapping[str, OfLanguage]]:
    """Returns the results of each seed of a balancer at a capacity."""
    return {
        run.seed: of for (run, at), of in results.items() if (run.balancer, at) == (name, capacity)
    }


def mean_of(runs: Iterable[Mapping[str, OfLanguage]]) -> dict[str, OfLanguage]:
    """Returns the mean of several seeds by language; nothing for none."""
    every = list(runs)
    return {
        code: OfLanguage(*(fmean(part) for part in zip(*(of[code] for of in every), strict=True)))
        for code in (every[0] if every else ())
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
