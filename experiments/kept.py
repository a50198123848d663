"""What students keep, from evaluations alone: the rows of docs/results/students.md.

    python experiments/kept.py RUNS [--seeds 1] [--out FILE]

RUNS holds the runs of `students.py`, or the part of them that is published: `recipe.json` and the
last evaluation of each. Every student is compared over all held-out pages, script variants left
out, with a baseline of its own steps and with one of the steps of student and teacher. Several
seeds are compared by their means.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from decayed import LENGTHS
from jaxtyping import Float
from variants import with_experts

from eval.distillation import retained_gain
from eval.statistics import PageScores

TEACHER = LENGTHS[0]  # steps
TEACHERS = {16: "switch", 64: with_experts(64)}  # experts to the name of the runs
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
    seeds: int = 1
    """Number of seeds: 0, or from 0 on."""
    out: Path = Path("kept.csv")
    """Table to write."""


def evaluation(run: Path) -> pa.Table:
    """Returns the pages of a run's last evaluation, script variants left out."""
    files = run.glob("evaluation/step=*.parquet")
    last = max(files, key=lambda path: int(path.stem.removeprefix("step=")))
    table = pq.read_table(last).sort_by([("language", "ascending"), ("url", "ascending")])
    return table.filter([not code.endswith("-Latn") for code in table["language"].to_pylist()])


def losses(seeds: Sequence[pa.Table]) -> Float[np.ndarray, "runs pages"]:
    """Returns the nats of each page with each seed of a run."""
    return np.stack([pages["loss_nats"].to_numpy() for pages in seeds])


def scores(seeds: Sequence[pa.Table]) -> PageScores:
    """Returns the scores of all seeds of a run on all pages."""
    return PageScores(losses(seeds), seeds[0]["target_tokens"].to_numpy())


def better_in(seeds: Sequence[pa.Table], than: Sequence[pa.Table]) -> int:
    """Returns the number of languages in which one run has a lower mean loss than another."""
    codes = seeds[0]["language"].to_numpy(zero_copy_only=False)
    languages, at = np.unique(codes, return_inverse=True)
    loss, baseline = (np.bincount(at, losses(of).mean(0), len(languages)) for of in (seeds, than))
    return int(np.count_nonzero(loss < baseline))  # of the same tokens


def parameters(run: Path) -> int:
    """Returns the number of a run's weights."""
    return json.loads((run / "recipe.json").read_text())["parameters"]


def students(runs: Path, seeds: int) -> list[tuple[int, int, str]]:
    """Returns experts of the teacher, steps and name of each student that all seeds have."""
    named = [{run.name for run in (runs / f"students-{seed}").iterdir()} for seed in range(seeds)]
    matches = map(STUDENT.fullmatch, set.intersection(*named))
    return sorted((int(match[1]), int(match[2]), match[3]) for match in matches if match)


def rows(runs: Path, seeds: int) -> Iterator[tuple[object, ...]]:
    """Yields each student against both baselines."""

    def seeds_of(kind: str, name: str) -> list[Path]:
        return [runs / f"{kind}-{seed}" / name for seed in range(seeds)]

    for experts, steps, name in students(runs, seeds):
        student = seeds_of("students", f"{experts}-experts-{steps}-{name}")
        teacher = seeds_of(TEACHERS[experts], str(TEACHER))
        compression = 1 - parameters(student[0]) / parameters(teacher[0])
        for baseline, against in ((f"own-{steps}", steps), (f"{TEACHER + steps}", TEACHER + steps)):
            sides = seeds_of("mt5", baseline), teacher, student
            beside, *others = ([evaluation(run) for run in side] for side in sides)
            kept = retained_gain([scores(runs) for runs in (beside, *others)])
            numbers = (getattr(kept, field) for field in NUMBERS)
            counts = (better_in(runs, beside) for runs in others)
            yield (
                *(experts, f"{compression:.3f}", steps, name, against),
                *("" if number is None else f"{number:.5f}" for number in numbers),
                *counts,
            )


def main(arguments: Arguments) -> None:
    """Writes the table."""
    write(arguments.out, arguments.runs, arguments.seeds)


def write(out: Path, runs: Path, seeds: int) -> None:
    """Writes what the students among these runs keep, as CSV."""
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows(rows(runs, seeds))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
