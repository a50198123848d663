"""What sparsity gains on a task in 96 languages: SIB-200, by runs of `long.py`.

    python experiments/tasks.py [--runs DIR] [--data DIR] [--out DIR]

The runs of 15,872 steps of both sides are fine-tuned on all languages mixed, and a report compares
them. Each is the command that a user would type; a finished one is not repeated, and one that was
cut short resumes.
"""

from dataclasses import dataclass
from pathlib import Path

import long
import tyro
from lanes import Task, run_chains, stage

SIDES = ("mt5", "switch")
# 5.7 epochs. Of 100 sentences 60 are longer than the 64 tokens of pretraining, few than 128. The
# rate is ten times mT5's 0.001: these small networks were pretrained at 0.035.
SETTINGS = ("rows=64", "inputs=128", "steps=6000", "evaluate_every=2000", "optimizer.scale=10")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where runs and data are, and where results are written."""

    runs: Path = long.Arguments.out
    """Directory of `long.py`."""
    data: Path = Path("../shared/data/tasks/sib200")
    """SIB-200: one file per language."""
    corpus: Path | None = None
    """Corpus of the pretraining, to mark test examples that share text with it."""
    out: Path = Path("runs/tasks")
    """Directory for all results."""


def main(arguments: Arguments) -> None:
    """Fine-tunes what is not finished, and writes the report."""
    run_chains([[finetune(arguments, side, seed)] for seed in long.SEEDS for side in SIDES])
    report = [f"--out={arguments.out}/report"]
    for option, side in zip(("baseline", "candidate"), SIDES, strict=True):
        report += [f"--{option}", *(str(pretrained(arguments, side, seed)) for seed in long.SEEDS)]
        tuned = (str(finetuned(arguments, side, seed)) for seed in long.SEEDS)
        report += [f"--{option}-tasks", *tuned]
    stage(arguments.out, "report", *report)


def finetune(arguments: Arguments, side: str, seed: int) -> Task:
    """Returns one fine-tuning."""
    corpus = () if arguments.corpus is None else (f"--corpus={arguments.corpus}",)
    command = (
        "finetune",
        f"--run={pretrained(arguments, side, seed)}",
        f"--task=sib200={arguments.data}",
        f"--out={finetuned(arguments, side, seed)}",
        *corpus,
        *("--set", f"seed={seed}", *SETTINGS),
    )
    return Task(arguments.out / "logs" / f"all-{side}-{seed}.log", command)


def pretrained(arguments: Arguments, side: str, seed: int) -> Path:
    """Returns the run of a side and seed of 15,872 steps."""
    return arguments.runs / f"{side}-{seed}" / str(long.LONGER[0])


def finetuned(arguments: Arguments, side: str, seed: int) -> Path:
    """Returns the fine-tuned run of a side and seed."""
    return arguments.out / "all" / f"{side}-{seed}"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
