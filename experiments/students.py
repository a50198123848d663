"""What dense students keep of a teacher that was trained for a whole length of the experiment.

    python experiments/students.py [--out runs/decayed] [--seeds 4] [--length 15872]

Comes after `decayed.py`, whose runs of 16 experts are the teachers of the lower compression
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
from typing import Any, NamedTuple

import tyro
from decayed import KEPT, LENGTHS, STEADY, TRUNK
from distillation import OTHERS, PAPER, gains
from lanes import Task, run_chains
from multilingual import pretrain, stage

SHARES = (0.05, 0.1, 0.2)  # of the teacher's steps
DECAY = f"optimizer.decay_from={STEADY}"
STUDENTS = {"as-in-the-paper": PAPER}
VARIED = STUDENTS | {name: OTHERS[name] for name in ("labels-alone", "softer")}  # with 10 %
EXPERTS = (16, 64)


class Experiment(NamedTuple):
    """One length of teachers.

    Attributes:
        out: directory of all runs.
        length: steps of a teacher.
    """

    out: Path
    length: int

    @property
    def steps(self) -> tuple[int, ...]:
        """The students' steps."""
        return tuple(round(share * self.length) for share in SHARES)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment is."""

    out: Path = Path("runs/decayed")
    """Directory that `decayed.py` wrote; everything is made there."""
    seeds: int = 4
    """Number of seeds; with fewer, the table is that of the seeds so far."""
    length: int = LENGTHS[-1]
    """Steps of the teachers, one of the lengths of `decayed.py`."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints the table."""
    all_of, seeds = Experiment(arguments.out, arguments.length), range(arguments.seeds)
    check_teachers(all_of, seeds)
    run_chains([[longer_trunk(all_of, seed), *totals(all_of, seed)] for seed in seeds])
    run_chains([[own(all_of, seed, steps)] for seed in seeds for steps in all_of.steps])
    run_chains(
        [
            [*teacher(all_of, seed, experts), *students(all_of, seed, experts)]
            for experts in EXPERTS
            for seed in seeds
        ]
    )
    print(table(all_of, seeds))


def check_teachers(all_of: Experiment, seeds: Sequence[int]) -> None:
    """Checks that `decayed.py` has made the teachers: the baselines come first, and take hours.

    Raises:
        SystemExit: if a teacher is not finished.
    """
    for seed in seeds:
        run = all_of.out / name_of_teacher(all_of, seed, EXPERTS[0])
        if not (run / "manifest.json").exists():
            raise SystemExit(
                f"{run} is to teach and is not finished; run decayed.py for {len(seeds)} seeds and "
                f"this length, or name another --length of {LENGTHS}."
            )


def branch_of(steps: int) -> int:
    """Returns the kept checkpoint of the trunk at which a branch of this length leaves."""
    return KEPT * round(STEADY * steps / KEPT)


def longer_trunk(all_of: Experiment, seed: int) -> Task:
    """Returns the baseline's trunk up to the last branch: a copy of it that is made longer."""
    out = all_of.out
    trunk, longer = out / f"mt5-{seed}" / "trunk", out / f"mt5-{seed}" / "longer-trunk"
    if not longer.exists():
        unfinished = longer.with_name("longer-trunk.unfinished")
        shutil.copytree(trunk, unfinished, dirs_exist_ok=True)
        unfinished.rename(longer)
    steps = branch_of(all_of.length + all_of.steps[-1])
    settings = (f"seed={seed}", *TRUNK, f"steps={steps}")
    return pretrain(out, f"mt5-{seed}/longer-trunk", "mt5-multilingual", "--set", *settings)


def totals(all_of: Experiment, seed: int) -> list[Task]:
    """Returns the baselines of as many steps as student and teacher together."""
    out = all_of.out
    return [
        pretrain(
            out,
            f"mt5-{seed}/{steps}",
            "mt5-multilingual",
            f"--trunk={out}/mt5-{seed}/longer-trunk",
            f"--branch-at={branch_of(steps)}",
            *("--set", f"seed={seed}", f"steps={steps}", f"evaluate_every={steps}"),
        )
        for steps in (all_of.length + own for own in all_of.steps)
    ]


def own(all_of: Experiment, seed: int, steps: int) -> Task:
    """Returns a baseline of as many steps as the student's."""
    settings = (f"seed={seed}", f"steps={steps}", DECAY, f"evaluate_every={steps}")
    return pretrain(all_of.out, f"mt5-{seed}/own-{steps}", "mt5-multilingual", "--set", *settings)


def teacher(all_of: Experiment, seed: int, experts: int) -> list[Task]:
    """Returns the run of a teacher that `decayed.py` did not make."""
    if experts == EXPERTS[0]:
        return []
    settings = (f"seed={seed}", f"steps={all_of.length}", DECAY, f"model.switch.experts={experts}")
    name = name_of_teacher(all_of, seed, experts)
    return [pretrain(all_of.out, name, "switch-multilingual", "--set", *settings)]


def name_of_teacher(all_of: Experiment, seed: int, experts: int) -> str:
    """Returns the name of a teacher's run."""
    name = f"switch-{seed}/{all_of.length}"
    return name if experts == EXPERTS[0] else f"{name}-of-{experts}-experts"


def students(all_of: Experiment, seed: int, experts: int) -> list[Task]:
    """Returns the students of a teacher."""
    return [
        distill(all_of, seed, experts, steps, name)
        for steps in all_of.steps
        for name in students_of(all_of, steps)
    ]


def students_of(all_of: Experiment, steps: int) -> dict[str, tuple[str, ...]]:
    """Returns the names and settings of the students of a length."""
    return VARIED if steps == all_of.steps[1] else STUDENTS


def distill(all_of: Experiment, seed: int, experts: int, steps: int, name: str) -> Task:
    """Returns one student's run."""
    out = all_of.out
    run = name_of_student(seed, experts, steps, name)
    settings = (f"seed={seed}", f"name={name}", f"steps={steps}", DECAY)
    command = (
        "distill",
        f"--teacher={out}/{name_of_teacher(all_of, seed, experts)}",
        "--recipe=mt5-multilingual",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        *("--set", *settings, f"evaluate_every={steps}"),
        *students_of(all_of, steps)[name],
    )
    return Task(out / "logs" / f"{run}.log", command)


def name_of_student(seed: int, experts: int, steps: int, name: str) -> str:
    """Returns the name of a student's run."""
    return f"students-{seed}/{experts}-experts-{steps}-{name}"


def table(all_of: Experiment, seeds: Sequence[int]) -> str:
    """Returns the share that every student keeps, against both baselines, as Markdown."""
    lines = [
        "| experts | steps | student | compression | teacher's gain, nats | student's | kept "
        "| baseline of all steps: teacher's | student's | kept |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for experts in EXPERTS:
        for steps in all_of.steps:
            baselines = f"own-{steps}", str(all_of.length + steps)
            both = [report(all_of, seeds, experts, steps, baseline) for baseline in baselines]
            for one, longer in zip(*both, strict=True):
                head = [str(experts), f"{steps:,}", one["name"], f"{one['compression']:.0%}"]
                cells = [*gains(one["overall"]), *gains(longer["overall"])]
                lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def report(
    all_of: Experiment, seeds: Sequence[int], experts: int, steps: int, baseline: str
) -> list[dict[str, Any]]:
    """Writes the report of a teacher and its students; returns its rows of students."""
    out = all_of.out
    sides = {
        "baseline": [f"mt5-{seed}/{baseline}" for seed in seeds],
        "candidate": [name_of_teacher(all_of, seed, experts) for seed in seeds],
        "student": [
            name_of_student(seed, experts, steps, name)
            for name in students_of(all_of, steps)
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
