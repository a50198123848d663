"""What dense students keep of a teacher that was trained for the experiment's whole length.

    python experiments/students.py [--out runs/decayed] [--seeds 4]

Comes after `decayed.py`, whose longest runs of 16 experts are the teachers of the lower compression
(67 %). Those of the higher one (90 %) have 64 experts and are trained here. Students take 5, 10 and
20 % of their teacher's steps and begin with its non-expert weights, at the paper's 0.75 labels and
0.25 teacher. With 10 % there are two more: of labels alone, and of 0.25 labels at temperature 2.

Each student is counted twice: against a baseline of as many steps as its own, and against one of as
many as student and teacher together, a longer branch of the baseline's trunk. All of them have the
same schedule: the rate falls to 0 over the last quarter. Prints the table.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from decayed import KEPT, LENGTHS, STEADY, TRUNK
from distillation import OTHERS, PAPER, gains
from lanes import Task, run_chains
from multilingual import pretrain, stage

LONG = LENGTHS[-1]
STEPS = tuple(round(share * LONG) for share in (0.05, 0.1, 0.2))
DECAY = f"optimizer.decay_from={STEADY}"
STUDENTS = {"as-in-the-paper": PAPER}
VARIED = STUDENTS | {name: OTHERS[name] for name in ("labels-alone", "softer")}  # with 10 %
EXPERTS = (16, 64)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment is."""

    out: Path = Path("runs/decayed")
    """Directory that `decayed.py` wrote; everything is made there."""
    seeds: int = 4
    """Number of seeds; with fewer, the table is that of the seeds so far."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints the table."""
    out, seeds = arguments.out, range(arguments.seeds)
    run_chains([[longer_trunk(out, seed), *totals(out, seed)] for seed in seeds])
    run_chains([[own(out, seed, steps)] for seed in seeds for steps in STEPS])
    run_chains(
        [
            [*teacher(out, seed, experts), *students(out, seed, experts)]
            for experts in EXPERTS
            for seed in seeds
        ]
    )
    print(table(out, seeds))


def total(steps: int) -> int:
    """Returns the steps of a student and of its teacher together."""
    return LONG + steps


def branch_of(steps: int) -> int:
    """Returns the kept checkpoint of the trunk at which a branch of this length leaves."""
    return KEPT * round(STEADY * steps / KEPT)


def longer_trunk(out: Path, seed: int) -> Task:
    """Returns the baseline's trunk up to the last branch: a copy of it that is made longer."""
    trunk, longer = out / f"mt5-{seed}" / "trunk", out / f"mt5-{seed}" / "longer-trunk"
    if not longer.exists():
        unfinished = longer.with_name("longer-trunk.unfinished")
        shutil.copytree(trunk, unfinished, dirs_exist_ok=True)
        unfinished.rename(longer)
    steps = branch_of(total(STEPS[-1]))
    settings = (f"seed={seed}", *TRUNK, f"steps={steps}")
    return pretrain(out, f"mt5-{seed}/longer-trunk", "mt5-multilingual", "--set", *settings)


def totals(out: Path, seed: int) -> list[Task]:
    """Returns the baselines of as many steps as student and teacher together."""
    return [
        pretrain(
            out,
            f"mt5-{seed}/{steps}",
            "mt5-multilingual",
            f"--trunk={out}/mt5-{seed}/longer-trunk",
            f"--branch-at={branch_of(steps)}",
            *("--set", f"seed={seed}", f"steps={steps}", f"evaluate_every={steps}"),
        )
        for steps in map(total, STEPS)
    ]


def own(out: Path, seed: int, steps: int) -> Task:
    """Returns a baseline of as many steps as the student's."""
    settings = (f"seed={seed}", f"steps={steps}", DECAY, f"evaluate_every={steps}")
    return pretrain(out, f"mt5-{seed}/own-{steps}", "mt5-multilingual", "--set", *settings)


def teacher(out: Path, seed: int, experts: int) -> list[Task]:
    """Returns the run of a teacher that `decayed.py` did not make."""
    if experts == EXPERTS[0]:
        return []
    settings = (f"seed={seed}", f"steps={LONG}", DECAY, f"model.switch.experts={experts}")
    name = name_of_teacher(seed, experts)
    return [pretrain(out, name, "switch-multilingual", "--set", *settings)]


def name_of_teacher(seed: int, experts: int) -> str:
    """Returns the name of a teacher's run."""
    return f"switch-{seed}/{LONG}" if experts == EXPERTS[0] else f"switch-{seed}/{experts}-experts"


def students(out: Path, seed: int, experts: int) -> list[Task]:
    """Returns the students of a teacher."""
    return [
        distill(out, seed, experts, steps, name) for steps in STEPS for name in students_of(steps)
    ]


def students_of(steps: int) -> dict[str, tuple[str, ...]]:
    """Returns the names and settings of the students of a length."""
    return VARIED if steps == STEPS[1] else STUDENTS


def distill(out: Path, seed: int, experts: int, steps: int, name: str) -> Task:
    """Returns one student's run."""
    run = name_of_student(seed, experts, steps, name)
    settings = (f"seed={seed}", f"name={name}", f"steps={steps}", DECAY)
    command = (
        "distill",
        f"--teacher={out}/{name_of_teacher(seed, experts)}",
        "--recipe=mt5-multilingual",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        *("--set", *settings, f"evaluate_every={steps}"),
        *students_of(steps)[name],
    )
    return Task(out / "logs" / f"{run}.log", command)


def name_of_student(seed: int, experts: int, steps: int, name: str) -> str:
    """Returns the name of a student's run."""
    return f"students-{seed}/{experts}-experts-{steps}-{name}"


def table(out: Path, seeds: Sequence[int]) -> str:
    """Returns the share that every student keeps, against both baselines, as Markdown."""
    lines = [
        "| experts | steps | student | compression | teacher's gain, nats | student's | kept "
        "| baseline of all steps: teacher's | student's | kept |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for experts in EXPERTS:
        for steps in STEPS:
            baselines = f"own-{steps}", str(total(steps))
            both = [report(out, seeds, experts, steps, baseline) for baseline in baselines]
            for one, longer in zip(*both, strict=True):
                head = [str(experts), f"{steps:,}", one["name"], f"{one['compression']:.0%}"]
                cells = [*gains(one["overall"]), *gains(longer["overall"])]
                lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def report(
    out: Path, seeds: Sequence[int], experts: int, steps: int, baseline: str
) -> list[dict[str, Any]]:
    """Writes the report of a teacher and its students; returns its rows of students."""
    sides = {
        "baseline": [f"mt5-{seed}/{baseline}" for seed in seeds],
        "candidate": [name_of_teacher(seed, experts) for seed in seeds],
        "student": [
            name_of_student(seed, experts, steps, name)
            for name in students_of(steps)
            for seed in seeds
        ],
    }
    named = [
        w for side, runs in sides.items() for w in (f"--{side}", *(f"{out}/{r}" for r in runs))
    ]
    place = out / f"report-of-{experts}-{steps}-{baseline}-{len(seeds)}-seeds"
    stage(out, "report", *named, f"--out={place}", "--allow-differences")
    return json.loads((place / "report.json").read_text())["students"]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
