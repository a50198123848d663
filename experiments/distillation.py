"""The share of a sparse teacher's gain that dense students keep, at a size for two cores.

    python experiments/distillation.py [--out DIR]

Teachers and baselines are runs of `multilingual.py`, which comes first. The ladder of experts is
the ladder of compressions. Each of its runs has a student as in the paper (table 6: the teacher's
non-expert weights, 0.75 labels and 0.25 teacher), with its teacher's steps, seed and examples. The
teacher with the most experts has three more, which differ only in `distillation`:

    labels-alone   the same first weights and no teacher: the effect of the weights alone
    softer         0.25 labels and 0.75 teacher, at temperature 2
    experts-mean   sparse feed-forwards begin as the mean of the experts, weighted by load

The baseline is counted twice: with as many steps as the student, and with as many as student and
teacher together. Results: docs/results/distillation.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from lanes import Task, run_all
from multilingual import LADDER, SHORT, stage

PAPER: tuple[str, ...] = ("--set=distillation.hard_share=0.75",)
OTHERS: dict[str, tuple[str, ...]] = {
    "labels-alone": ("--set=distillation.hard_share=1",),
    "softer": ("--set=distillation.hard_share=0.25", "--set=distillation.temperature=2"),
    "experts-mean": ("--set=distillation.initialization=experts-mean",),
}
SEED = 0
BASELINE, LONGER = "mt5-short", "mt5-twice"  # as many steps as a student; and as it and its teacher


def students(experts: int) -> dict[str, tuple[str, ...]]:
    """Returns the students of a teacher: their names and settings."""
    return {"as-in-the-paper": PAPER} | (OTHERS if experts == max(LADDER) else {})


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment is."""

    out: Path = Path("runs/experiment")
    """Directory that `multilingual.py` wrote; everything is made there."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints a table."""
    out = arguments.out
    run_all([distill(out, n, name, set_) for n in LADDER for name, set_ in students(n).items()])
    for experts in LADDER:
        report(out, experts, BASELINE, "")
        report(out, experts, LONGER, "-twice", "--allow-differences")
    print(table(out))


def run_of(name: str, experts: int) -> str:
    """Returns the name of a student's run."""
    return f"{name}-of-{experts}-experts"


def distill(out: Path, experts: int, name: str, settings: tuple[str, ...]) -> Task:
    """Returns one student's run."""
    run = run_of(name, experts)
    command = (
        "distill",
        f"--teacher={out}/switch-{experts}-experts",
        "--recipe=mt5-experiment",
        f"--tokens={out}/tokens",
        f"--out={out}/{run}",
        f"--set=name={name}",
        f"--set=seed={SEED}",
        *SHORT,
        *settings,
    )
    return Task(out / "logs" / f"{run}.log", command)


def report(out: Path, experts: int, baseline: str, suffix: str, *options: str) -> None:
    """Writes the report of one teacher and its students against one baseline."""
    sides = {
        "baseline": [baseline],
        "candidate": [f"switch-{experts}-experts"],
        "student": [run_of(name, experts) for name in students(experts)],
    }
    runs = [
        word
        for side, names in sides.items()
        for word in (f"--{side}", *(f"{out}/{n}" for n in names))
    ]
    read = f"--corpus={out}/corpus", f"--tokens={out}/tokens"
    stage(out, "report", *runs, *read, f"--out={out}/report-of-{experts}{suffix}", *options)


def table(out: Path) -> str:
    """Returns the share that every student keeps, against both baselines, as Markdown."""
    lines = [
        "| experts | student | compression | teacher's gain, nats | student's | kept "
        "| baseline twice as long: teacher's | student's | kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for experts in LADDER:
        once, twice = (
            json.loads((out / f"report-of-{experts}{suffix}/report.json").read_text())["students"]
            for suffix in ("", "-twice")
        )
        for shorter, longer in zip(once, twice, strict=True):
            cells = [*gains(shorter["overall"]), *gains(longer["overall"])]
            head = [str(experts), shorter["name"], f"{shorter['compression']:.0%}"]
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
