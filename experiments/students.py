"""What dense students keep of a teacher that was trained for a whole length of the experiment.

    python experiments/students.py [--seeds 2] [--experts 16 64] [--ids 2048 --out runs/decayed]

Teachers are Switches of 3,968 steps, with the text of `word_pieces.py` (8,192 ids: compression 39 %
with 16 experts, 73 % with 64) or of `decayed.py` (2,048 ids: 67 and 90 %). Students take 5, 10
and 20 % of these steps and begin with their teacher's non-expert weights, at the paper's 0.75
labels and 0.25 teacher. With 10 % there are four more: of labels alone, of 0.25 labels, of
temperature 2, and of both.

Each student is counted twice: against a baseline of as many steps as its own, and against one of as
many as student and teacher together, a branch of the trunk of seed and side, which becomes longer
for it. All of them have the same schedule: the rate falls to 0 over the last quarter. Writes
kept.csv, as `kept.py` makes it. A seed takes two hours on one core with 2,048 ids and four with
8,192; what `decayed.py`, `word_pieces.py` and `variants.py` have finished in the same directory is
not repeated. The results are in docs/results/students.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import decayed
import multilingual
import tyro
import word_pieces
from distillation import OTHERS, PAPER
from kept import TEACHER, TEACHERS, write
from lanes import Task, run_chains

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
    """Runs what is not finished, and writes the table."""
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
    write(out / "kept.csv", out, arguments.seeds)


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
    """Returns the settings that runs without a trunk have beside their recipe and rows."""
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
    run = f"students-{seed}/{experts}-experts-{steps}-{name}"
    command = (
        "distill",
        f"--teacher={out}/{TEACHERS[experts]}-{seed}/{TEACHER}",
        "--recipe=mt5-multilingual",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        *("--set", f"name={name}", rows, *settings(seed, steps)),
        *students_of(steps)[name],
    )
    return Task(out / "logs" / f"{run}.log", command)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
