"""What students keep, from evaluations alone: the rows of docs/results/students.md.

    python experiments/kept.py RUNS [--out FILE]

RUNS holds the runs of `students.py`, or the part of them that is published: `recipe.json` and the
last evaluation of each. Every student is compared over all held-out pages, script variants left
out, with a baseline of its own steps and with one of the steps of student and teacher.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from students import TEACHER, TEACHERS

from eval.distillation import retained
from eval.statistics.intervals import Scores

STUDENT = re.compile(r"(\d+)-experts-(\d+)-(.+)")
NUMBERS = (
    "gain_nats_teacher",
    "gain_nats_student",
    *(f"gain_retained{end}" for end in ("", "_low", "_high")),
)
FIELDS = (
    *("experts", "compression", "steps", "student", "against_steps"),
    *(*NUMBERS, "teacher_better_in", "student_better_in"),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the runs are."""

    runs: Annotated[Path, tyro.conf.Positional]
    """Directory of the runs."""
    seed: int = 0
    """Seed of the runs."""
    out: Path = Path("kept.csv")
    """Table to write."""


def evaluation(run: Path) -> pa.Table:
    """Returns the pages of a run's last evaluation, script variants left out."""
    files = run.glob("evaluation/step=*.parquet")
    last = max(files, key=lambda path: int(path.stem.removeprefix("step=")))
    table = pq.read_table(last).sort_by([("language", "ascending"), ("url", "ascending")])
    return table.filter([not code.endswith("-Latn") for code in table["language"].to_pylist()])


def scores(pages: pa.Table) -> Scores:
    """Returns the scores of one run on all pages."""
    return Scores(pages["loss_nats"].to_numpy()[None], pages["target_tokens"].to_numpy())


def better_in(one: pa.Table, than: pa.Table) -> int:
    """Returns the number of languages in which one run has a lower loss than another."""
    languages, at = np.unique(one["language"].to_numpy(zero_copy_only=False), return_inverse=True)
    sums = [np.bincount(at, of["loss_nats"].to_numpy(), len(languages)) for of in (one, than)]
    return int(np.count_nonzero(sums[0] < sums[1]))  # of the same tokens


def parameters(run: Path) -> int:
    """Returns the number of a run's weights."""
    return json.loads((run / "recipe.json").read_text())["parameters"]


def rows(runs: Path, seed: int) -> Iterator[tuple[object, ...]]:
    """Yields each student against both baselines."""
    found = [
        (run, int(match[1]), int(match[2]), match[3])
        for run in (runs / f"students-{seed}").iterdir()
        if (match := STUDENT.fullmatch(run.name))
    ]
    for run, experts, steps, name in sorted(found, key=lambda one: one[1:]):
        teacher = runs / f"{TEACHERS[experts]}-{seed}" / str(TEACHER)
        compression = 1 - parameters(run) / parameters(teacher)
        for baseline, against in ((f"own-{steps}", steps), (f"{TEACHER + steps}", TEACHER + steps)):
            beside, *others = map(evaluation, (runs / f"mt5-{seed}" / baseline, teacher, run))
            kept = retained([scores(one) for one in (beside, *others)])
            numbers = (getattr(kept, field) for field in NUMBERS)
            counts = (better_in(one, beside) for one in others)
            yield (
                *(experts, f"{compression:.3f}", steps, name, against),
                *("" if one is None else f"{one:.5f}" for one in numbers),
                *counts,
            )


def main(arguments: Arguments) -> None:
    """Writes the table."""
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows(rows(arguments.runs, arguments.seed))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
