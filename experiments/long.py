"""What 16 experts gain with a tuned rate at two lengths, and then at two longer ones.

    python experiments/long.py [--documents DIR] [--web GLOB] [--out DIR] [--stage 0]

docs/results/long-design.md fixes what is run and measured. Stage 0 finds the rate on a seed of its
own. Stage 1 has a trunk and two branches per seed and side: a trunk's rate does not depend on its
length, and each branch lowers it to 0 and ends as a run of that length would. Stage 2 continues all
trunks, first to twice and then to four times the length. A finished run is not repeated, and one
that was cut short resumes, so each stage is started as often as needed. Stages 0 and 1 take three
and four hours of one core, and stage 2 eleven:

    taskset --cpu-list 1 nice -n 19 python experiments/long.py --stage 0
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import text
import tyro
from lanes import Task, pretrain, report, run_chains

SIDES = ("mt5", "switch")
# Stage 0.
SCALES = (1.0, 1.4, 2.0, 2.8)  # of mT5
SWITCH_SCALES = (1.0, 2.0)
BEYOND = {SCALES[0]: 0.7, SCALES[-1]: 4.0}  # the further point where the best is at an edge
RATE_SEED = 100
RATE_STEPS = 7_936
TIE = 0.005  # nats
# Stage 1.
SEEDS = range(200, 204)
LENGTHS = (3_968, 7_936)
STEADY = 3 / 4  # share of a run before its decay
KEPT = 744  # steps between checkpoints of a trunk that stay: all lengths and students branch there
SAVED = 124  # steps that a kill may cost
# Stage 2.
LONGER = (15_872, 31_744)
COMMON = (f"model.vocabulary_rows={text.IDS}", "logits_mib=4", f"checkpoint_every={SAVED}")


@dataclass(frozen=True, kw_only=True)
class Arguments(text.Arguments):
    """Where the text is, where results are written, and what is run."""

    stage: Literal[0, 1, 2] = 0
    """0 for the rate, 1 for two lengths at the rate that stage 0 found, 2 for two longer ones."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished of a stage."""
    text.prepare(arguments)
    match arguments.stage:
        case 0:
            find_rate(arguments.out)
        case 1:
            compare(arguments.out, LENGTHS)
        case 2:
            for number in range(1, len(LONGER) + 1):
                compare(arguments.out, (*LENGTHS, *LONGER[:number]))


def compare(out: Path, lengths: Sequence[int]) -> None:
    """Trains both sides at the rate that stage 0 found, and writes the report of these lengths."""
    run_chains([chain(out, side, seed, lengths) for seed in SEEDS for side in SIDES])
    mt5, switch = (
        [f"{side}-{seed}/{length}" for seed in SEEDS for length in lengths] for side in SIDES
    )
    report(out, f"report-{lengths[-1]}", mt5, switch)


def find_rate(out: Path) -> None:
    """Runs stage 0 and writes rate.json: losses by side and scale, and mT5's scale."""
    run_chains([[rate_run(out, "mt5", scale)] for scale in SCALES])
    losses = {scale: held_out_loss(out / rate_name("mt5", scale)) for scale in SCALES}
    if further := BEYOND.get(min(losses, key=lambda scale: losses[scale])):
        run_chains([[rate_run(out, "mt5", further)]])
        losses[further] = held_out_loss(out / rate_name("mt5", further))
    run_chains([[rate_run(out, "switch", scale)] for scale in SWITCH_SCALES])
    switch = {scale: held_out_loss(out / rate_name("switch", scale)) for scale in SWITCH_SCALES}
    result = {
        "scale": smallest_of_the_best(losses),
        "losses_nats": {"mt5": losses, "switch": switch},
    }
    (out / "rate.json").write_text(json.dumps(result, indent=2) + "\n")


def rate_name(side: str, scale: float) -> str:
    """Returns the name of a run of stage 0."""
    return f"rate/{side}-{scale}-{RATE_SEED}"


def rate_run(out: Path, side: str, scale: float) -> Task:
    """Returns a run of stage 0."""
    return pretrain(
        out,
        rate_name(side, scale),
        f"{side}-multilingual",
        *("--set", f"seed={RATE_SEED}", *COMMON, f"optimizer.scale={scale}", *decayed(RATE_STEPS)),
    )


def held_out_loss(run: Path) -> float:
    """Returns a run's last loss in nats per target token, mean over languages, each alike."""
    last = max(run.glob("evaluation/step=*.parquet"), key=lambda path: int(path.stem[5:]))
    table = pq.read_table(last).group_by("language")
    sums = table.aggregate([("loss_nats", "sum"), ("target_tokens", "sum")]).to_pylist()
    means = [
        row["loss_nats_sum"] / row["target_tokens_sum"]
        for row in sorted(sums, key=lambda row: row["language"])
        if not row["language"].endswith("-Latn")  # the 101 languages, without script variants
    ]
    return sum(means) / len(means)


def smallest_of_the_best(losses: dict[float, float]) -> float:
    """Returns the smallest scale whose loss is within `TIE` of the lowest."""
    return min(scale for scale, loss in losses.items() if loss <= min(losses.values()) + TIE)


def chain(out: Path, side: str, seed: int, lengths: Sequence[int]) -> Sequence[Task]:
    """Returns a trunk and its branches of these lengths, in order; no trunk is made shorter."""
    place = f"{side}-{seed}/trunk"
    steps = max(branch_at(lengths[-1]), steps_of(out / place))
    trunk = pretrain(
        out,
        place,
        f"{side}-multilingual",
        *("--set", *settings(out, seed), "optimizer.decay_from=1", f"steps={steps}"),
        *(f"keep_every={KEPT}", f"evaluate_every={branch_at(LENGTHS[0])}"),
    )
    return [trunk, *(branch(out, side, seed, length) for length in lengths)]


def branch(out: Path, side: str, seed: int, length: int) -> Task:
    """Returns the run of this length, whose rate falls to 0 after it left the trunk."""
    return pretrain(
        out,
        f"{side}-{seed}/{length}",
        f"{side}-multilingual",
        f"--trunk={out}/{side}-{seed}/trunk",
        f"--branch-at={branch_at(length)}",
        *("--set", *settings(out, seed), *decayed(length)),
    )


def settings(out: Path, seed: int) -> Sequence[str]:
    """Returns what all runs of a seed have in common, with the rate that stage 0 found."""
    scale = json.loads((out / "rate.json").read_text())["scale"]
    return f"seed={seed}", *COMMON, f"optimizer.scale={scale}"


def decayed(length: int) -> Sequence[str]:
    """Returns the settings of a run of this length, evaluated at its end."""
    return f"optimizer.decay_from={STEADY}", f"steps={length}", f"evaluate_every={length}"


def steps_of(run: Path) -> int:
    """Returns the steps of a run's recipe, and 0 for a run that has not begun."""
    about = run / "recipe.json"
    return json.loads(about.read_text())["recipe"]["steps"] if about.exists() else 0


def branch_at(length: int) -> int:
    """Returns the step at which a run of this length leaves the trunk."""
    return round(STEADY * length)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
