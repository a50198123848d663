"""What sparsity gains on a task in 96 languages: SIB-200, in three modes, two seeds per side.

    python experiments/tasks.py --runs DIR [--data DIR] [--out DIR]

DIR of --runs has the finished runs mt5-0, mt5-1, switch-0 and switch-1. Every stage is the command
that a user would type; a finished one is not repeated, and one that was cut short resumes.

    english     trained on English alone, scored in all languages (zero-shot)
    all         trained on all languages mixed
    each        one run per language, on its examples alone, with one compiled step
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from lanes import Task, run_all

SIDES = ("mt5", "switch")
EVERY_300 = ("evaluate_every=300", "checkpoint_every=300")
EVERY_2000 = ("evaluate_every=2000", "checkpoint_every=2000")
# Steps of 64 rows: 55 epochs of English, 9 of another language alone, 6 of all languages.
# The rate is ten times mT5's 0.001: these small networks were pretrained at 0.035.
RATE = "optimizer.scale=10"
MODES = {
    "all": ("--set", "steps=6000", *EVERY_2000),
    "english": ("--languages", "en", "--set", "steps=600", *EVERY_300),
    "each": ("--each-language", "--set", "steps=100", "evaluate_every=50", "checkpoint_every=50"),
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where runs and data are, and where results are written."""

    runs: Path
    """Directory of the pretrained runs."""
    data: Path = Path("../shared/data/tasks/sib200")
    """SIB-200: one file per language."""
    corpus: Path | None = None
    """Corpus of the pretraining, to mark test examples that share text with it."""
    out: Path = Path("runs/tasks")
    """Directory for all results."""
    seeds: int = 2
    """Number of seeds per side."""
    modes: tuple[str, ...] = tuple(MODES)
    """Modes to run."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and compares the sides."""
    seeds = range(arguments.seeds)
    run_all(
        [
            finetune(arguments, mode, side, seed)
            for mode in arguments.modes
            for seed in seeds
            for side in SIDES
        ]
    )
    run_all([sentences(arguments, side, seed) for seed in seeds for side in SIDES])


def finetune(arguments: Arguments, mode: str, side: str, seed: int) -> Task:
    """Returns one fine-tuning."""
    name = f"{side}-{seed}"
    corpus = () if arguments.corpus is None else (f"--corpus={arguments.corpus}",)
    command = (
        "finetune",
        f"--run={arguments.runs}/{name}",
        f"--task=sib200={arguments.data}",
        f"--out={arguments.out}/{mode}/{name}",
        *corpus,
        *MODES[mode],
        RATE,
        f"seed={seed}",
    )
    return Task(arguments.out / "logs" / f"{mode}-{name}.log", command)


def sentences(arguments: Arguments, side: str, seed: int) -> Task:
    """Returns the scoring of parallel sentences by a pretrained run."""
    name = f"{side}-{seed}"
    command = ("evaluate", f"--run={arguments.runs}/{name}", f"--sentences=sib200={arguments.data}")
    return Task(arguments.out / "logs" / f"sentences-{name}.log", command)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
