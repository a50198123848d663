"""What dense students keep of a teacher that was trained for a whole length of the experiment.

    python experiments/students.py [--seeds 2] [--experts 16 64] [--ids 2048 --out runs/decayed]

Teachers are Switches of 3,968 steps, with the text of `word_pieces.py` (8,192 ids: compression 39 %
with 16 experts, 73 % with 64) or of `decayed.py` (2,048 ids: 67 and 90 %). Students take 5, 10
and 20 % of these steps and begin with their teacher's non-expert weights, at the paper's 0.75
labels and 0.25 teacher. With 10 % there are four more: of labels alone, of 0.25 labels, of
temperature 2, and of both.

Each student is counted twice: against a baseline of as many steps as its own, and against one of as
many as student and teacher together, a branch of the trunk of seed and side, which becomes longer
for it. All of them have the same schedule: the rate falls to 0 over the last quarter. Prints the
table. A seed takes two hours on one core with 2,048 ids and four with 8,192; what `decayed.py`,
`word_pieces.py` and `variants.py` have finished in the same directory is not repeated. The results
are in docs/results/students.md.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import decayed
import multilingual
import tyro
import word_pieces
from distillation import OTHERS, PAPER, gains
from lanes import Task, run_chains
from variants import with_experts

TEACHER = decayed.LENGTHS[0]  # steps
STEPS = tuple(round(share * TEACHER) for share in (0.05, 0.1, 0.2))
DECAY = f"optimizer.decay_from={decayed.STEADY}"
STUDENTS = {"as-in-the-paper": PAPER}
# With 10 % of the steps share and temperature are varied too, together and one at a time.
VARIED = STUDENTS | {
    "labels-alone": OTHERS["labels-alone"],
    "softer": OTHERS["softer"],
    "more-of-the-teacher": ("--set=distillation.hard_share=0.25",),
    "warmer": (*PAPER, "--set=distillation.temperature=2"),
}
TEACHERS = {16: "switch", 64: with_experts(64)}  # names of the runs


@dataclass(frozen=True, kw_only=True)
class Arguments(multilingual.Arguments):
    """Where the text is, and where runs are written."""

    ids: Literal[2048, 8192] = word_pieces.IDS
    """Ids of the vocabulary: those of `decayed.py`, or of `word_pieces.py`."""
    out: Path = word_pieces.Arguments.out
    """Directory of `word_pieces.py`, or with 2,048 ids of `decayed.py`."""
    seeds: int = 2
    """Number of seeds."""
    experts: tuple[int, ...] = tuple(TEACHERS)
    """Numbers of experts of the teachers."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints the table."""
    out, seeds, rows = (
        arguments.out,
        range(arguments.seeds),
        f"model.vocabulary_rows={arguments.ids}",
    )
    if arguments.ids != word_pieces.IDS and out == word_pieces.Arguments.out:
        raise SystemExit(f"--ids {arguments.ids} needs another --out, such as runs/decayed.")
    if arguments.ids == word_pieces.IDS:
        word_pieces.prepare(arguments)
    else:
        multilingual.prepare(arguments, out, multilingual.ALL_LANGUAGES)
    taught = [taught_by(out, seed, n, rows) for n in reversed(arguments.experts) for seed in seeds]
    run_chains([*taught, *(baselines(out, seed, rows) for seed in seeds)])
    print(table(out, seeds, arguments.experts))


def teachers(experts: int, seeds: Sequence[int]) -> list[str]:
    """Returns the names of the teachers' runs."""
    return decayed.runs_of(TEACHERS[experts], seeds, [TEACHER])


def baselines(out: Path, seed: int, rows: str) -> list[Task]:
    """Returns baselines of as many steps as student and teacher together, and as a student."""
    together = [TEACHER + steps for steps in STEPS]
    total = decayed.chain(out, "mt5", "mt5", seed, together, rows)
    own = [
        multilingual.pretrain(
            out,
            f"mt5-{seed}/own-{steps}",
            "mt5-multilingual",
            *("--set", rows, *settings(seed, steps)),
        )
        for steps in STEPS
    ]
    return [*total, *own]


def settings(seed: int, steps: int) -> tuple[str, ...]:
    """Returns what runs without a trunk have beside their recipe and rows."""
    return f"seed={seed}", f"steps={steps}", DECAY, f"evaluate_every={steps}"


def taught_by(out: Path, seed: int, experts: int, rows: str) -> list[Task]:
    """Returns a teacher and its students."""
    name, number = TEACHERS[experts], f"model.switch.experts={experts}"
    return [
        *decayed.chain(out, name, "switch", seed, [TEACHER], rows, number),
        *(
            distill(out, seed, experts, steps, student, rows)
            for steps in STEPS
            for student in students_of(steps)
        ),
    ]


def students_of(steps: int) -> dict[str, tuple[str, ...]]:
    """Returns the names and settings of the students of a length."""
    return VARIED if steps == STEPS[1] else STUDENTS


def distill(out: Path, seed: int, experts: int, steps: int, name: str, rows: str) -> Task:
    """Returns one student's run."""
    run = name_of_student(seed, experts, steps, name)
    command = (
        "distill",
        f"--teacher={out}/{teachers(experts, [seed])[0]}",
        "--recipe=mt5-multilingual",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        *("--set", f"name={name}", rows, *settings(seed, steps)),
        *students_of(steps)[name],
    )
    return Task(out / "logs" / f"{run}.log", command)


def name_of_student(seed: int, experts: int, steps: int, name: str) -> str:
    """Returns the name of a student's run."""
    return f"students-{seed}/{experts}-experts-{steps}-{name}"


def table(out: Path, seeds: Sequence[int], experts: Sequence[int]) -> str:
    """Returns the share that every student keeps, against both baselines, as Markdown."""
    lines = [
        "| experts | steps | student | compression | teacher's gain, nats | student's | kept "
        "| baseline of all steps: teacher's | student's | kept |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for number in experts:
        for steps in STEPS:
            both = [
                report(out, seeds, number, steps, baseline)
                for baseline in (f"own-{steps}", str(TEACHER + steps))
            ]
            for one, longer in zip(*both, strict=True):
                head = [str(number), f"{steps:,}", one["name"], f"{one['compression']:.0%}"]
                cells = [*gains(one["overall"]), *gains(longer["overall"])]
                lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def report(
    out: Path, seeds: Sequence[int], experts: int, steps: int, baseline: str
) -> list[dict[str, Any]]:
    """Writes the report of a teacher and its students; returns its rows of students."""
    sides = {
        "baseline": [f"mt5-{seed}/{baseline}" for seed in seeds],
        "candidate": teachers(experts, seeds),
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
    multilingual.stage(out, "report", *named, f"--out={place}", "--allow-differences")
    return json.loads((place / "report.json").read_text())["students"]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
