"""What dense students keep of the Switch of 7,936 steps, which `long.py --stage 1` makes.

    python experiments/students.py [--documents DIR] [--web GLOB] [--out DIR] [--seeds 1]

A student begins with its teacher's non-expert weights and takes an eighth or a quarter of its
steps, at the paper's 0.75 labels and 0.25 teacher (Switch Transformer, tables 6 and 7). With an
eighth there are two more: of labels alone, which shows what the weights are worth, and of 0.25
labels and temperature 2. Each is counted against mT5 of as many steps as its own, against mT5
of as many as its teacher, as the paper counts, and with an eighth also against mT5 of the steps of
both, for which the trunk of `long.py` becomes longer. There is a report of each count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import long
import text
import tyro
from lanes import Task, report, run_chains

TEACHER = long.LENGTHS[-1]  # steps
STEPS = TEACHER // 8, TEACHER // 4
BOTH = TEACHER + STEPS[0]
PAPER = ("distillation.hard_share=0.75",)
SOFTER = ("distillation.hard_share=0.25", "distillation.temperature=2")
STUDENTS = {
    "as-in-the-paper": PAPER,
    "labels-alone": ("distillation.hard_share=1",),
    "softer": SOFTER,
}


@dataclass(frozen=True, kw_only=True)
class Arguments(text.Arguments):
    """Where the text is, where results are written, and how much is run."""

    seeds: int = len(long.SEEDS)
    """Number of seeds, from the first on."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and writes the reports."""
    out, seeds = arguments.out, long.SEEDS[: arguments.seeds]
    text.prepare(arguments)
    run_chains([[*taught(out, seed), *baselines(out, seed)] for seed in seeds])
    teachers = [f"switch-{seed}/{TEACHER}" for seed in seeds]
    for steps in STEPS:
        students = [run_of(seed, steps, name) for seed in seeds for name in students_of(steps)]
        options = "--allow-differences", "--student", *(f"{out}/{student}" for student in students)
        for length in sorted({steps, TEACHER, *([BOTH] if steps == STEPS[0] else [])}):
            baseline = [f"mt5-{seed}/{length}" for seed in seeds]
            report(out, f"report-of-{steps}-against-{length}", baseline, teachers, *options)


def baselines(out: Path, seed: int) -> Sequence[Task]:
    """Returns mT5 of as many steps as students, and as a teacher and its shortest ones together."""
    return long.chain(out, "mt5", seed, [*STEPS, BOTH])


def taught(out: Path, seed: int) -> Sequence[Task]:
    """Returns all students of a seed's teacher."""
    return [distill(out, seed, steps, name) for steps in STEPS for name in students_of(steps)]


def students_of(steps: int) -> Sequence[str]:
    """Returns the names of the students of a length."""
    return list(STUDENTS) if steps == STEPS[0] else ["as-in-the-paper"]


def run_of(seed: int, steps: int, name: str) -> str:
    """Returns the name of a student's run."""
    return f"students-{seed}/{steps}-{name}"


def distill(out: Path, seed: int, steps: int, name: str) -> Task:
    """Returns one student's run."""
    run = run_of(seed, steps, name)
    command = (
        "distill",
        f"--teacher={out}/switch-{seed}/{TEACHER}",
        "--recipe=mt5-multilingual",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        *("--set", f"name={name}", *long.settings(out, seed), *long.decayed(steps)),
        *STUDENTS[name],
    )
    return Task(out / "logs" / f"{run}.log", command)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
