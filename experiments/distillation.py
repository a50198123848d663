"""What dense students keep of a sparse teacher's gain, at a size for two cores.

    python experiments/distillation.py [--out DIR]

Teachers and baselines are runs of `multilingual.py`, which comes first; the ladder of experts is
the ladder of compressions. Each teacher has two students, of its own steps, seed and examples, that
differ in `distillation` alone:

    as-in-the-paper   the teacher's non-expert weights, 0.75 labels and 0.25 teacher (table 6)
    softer            the same with 0.25 labels and 0.75 teacher at temperature 2

The baseline is counted twice: at as many steps as the student, and at as many as student and
teacher together. What came out stands in docs/results/distillation.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from lanes import Task, run_all
from multilingual import SEEDS, SHORT, pretrain, stage

from pipeline import recipes

STUDENTS = {
    "as-in-the-paper": (),
    "softer": ("--set=distillation.hard_share=0.25", "--set=distillation.temperature=2"),
}
FULL = recipes.mt5_experiment().steps
LONG = ("--set=evaluate_every=248",)  # of a student only its last evaluation is compared
TWICE = (f"--set=steps={2 * FULL}", "--set=evaluate_every=128", "--set=checkpoint_every=992")


class Lesson(NamedTuple):
    """A teacher, as a side of a report: its runs, one a seed, and who it is compared with.

    Attributes:
        name: of the reports.
        teachers: runs.
        baselines: runs of as many steps.
        longer: runs of twice as many.
        seeds: of teachers, baselines and students alike.
        settings: that make a student's run as long as its teacher's.
    """

    name: str
    teachers: tuple[str, ...]
    baselines: tuple[str, ...]
    longer: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]


def seed(number: int) -> Lesson:
    """Returns the lesson of one long teacher."""
    one = str(number)
    return Lesson(
        f"16-experts-seed-{one}",
        (f"switch-{one}",),
        (f"mt5-{one}",),
        (f"mt5-twice-{one}",),
        (number,),
        LONG,
    )


# Half as long as the others, so that the long baseline is the one of twice its steps.
MOST_EXPERTS = Lesson(
    "32-experts-short", ("switch-32-experts",), ("mt5-short",), ("mt5-0",), (0,), SHORT
)
LESSONS = (MOST_EXPERTS, *(seed(number) for number in SEEDS))


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment lies."""

    out: Path = Path("runs/experiment")
    """Directory that `multilingual.py` wrote; everything is made there."""


def main(arguments: Arguments) -> None:
    """Runs what is not yet done, and prints a table."""
    out = arguments.out
    longer = [
        pretrain(out, f"mt5-twice-{number}", "mt5-experiment", *TWICE, f"--set=seed={number}")
        for number in SEEDS
    ]
    students = [distill(out, lesson, kind) for lesson in LESSONS for kind in STUDENTS]
    run_all([*students, *longer])
    for lesson in LESSONS:
        report(out, lesson, lesson.baselines, "")
        report(out, lesson, lesson.longer, "-twice", "--allow-differences")
    print(table(out))


def student(lesson: Lesson, kind: str) -> str:
    """Returns the name of a student's run."""
    return f"{kind}-of-{lesson.name}"


def distill(out: Path, lesson: Lesson, kind: str) -> Task:
    """Returns one student's run."""
    name = student(lesson, kind)
    command = (
        "distill",
        f"--teacher={out}/{lesson.teachers[0]}",
        "--recipe=mt5-experiment",
        f"--tokens={out}/tokens",
        f"--out={out}/{name}",
        f"--set=name={kind}",
        f"--set=seed={lesson.seeds[0]}",
        *lesson.settings,
        *STUDENTS[kind],
    )
    return Task(out / "logs" / f"{name}.log", command)


def report(
    out: Path, lesson: Lesson, baselines: tuple[str, ...], suffix: str, *options: str
) -> None:
    """Writes the report of one teacher and its students against one baseline."""
    sides = {
        "baseline": baselines,
        "candidate": lesson.teachers,
        "student": tuple(student(lesson, kind) for kind in STUDENTS),
    }
    runs = [
        word
        for side, names in sides.items()
        for word in (f"--{side}", *(f"{out}/{n}" for n in names))
    ]
    read = f"--corpus={out}/corpus", f"--tokens={out}/tokens"
    stage(out, "report", *runs, *read, f"--out={out}/report-{lesson.name}{suffix}", *options)


def table(out: Path) -> str:
    """Returns what every student keeps, against both baselines, as Markdown."""
    lines = [
        "| teacher | student | compression | teacher's gain, nats | student's | kept "
        "| baseline twice as long: teacher's | student's | kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for lesson in LESSONS:
        once, twice = (
            json.loads((out / f"report-{lesson.name}{suffix}/report.json").read_text())["students"]
            for suffix in ("", "-twice")
        )
        for one, longer in zip(once, twice, strict=True):
            cells = [*gains(one["overall"]), *gains(longer["overall"])]
            head = [lesson.name, one["name"], f"{one['compression']:.0%}"]
            lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def gains(overall: dict[str, Any]) -> tuple[str, str, str]:
    """Returns the teacher's gain, the student's, and the share kept where there is one."""
    kept = overall["gain_retained"]
    share = "–"
    if kept is not None:
        low, high = overall["gain_retained_low"], overall["gain_retained_high"]
        share = f"{kept:.0%} ({low:.0%} to {high:.0%})"
    return f"{overall['gain_nats_teacher']:+.4f}", f"{overall['gain_nats_student']:+.4f}", share


if __name__ == "__main__":
    main(tyro.cli(Arguments))
