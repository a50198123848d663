"""What sparsity gains on a task in 96 languages: SIB-200, by the longest runs of `long.py`.

    python experiments/tasks.py [--runs DIR] [--data DIR] [--out DIR]

Each is the command that a user would type; a finished one is not repeated, and one that was cut
short resumes.

    all         trained on all languages mixed
    distilled   the dense side on all languages, taught by the fine-tuned sparse run of its seed
                (Switch Transformer, table 8); `all` comes first, and has its baseline
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import long
import tyro
from lanes import Task, run_all

from eval.statistics import retained_set
from eval.tasks.metrics import ACCURACIES, Metric
from eval.tasks.predictions import Predictions
from eval.tasks.scores import Runs, ScoreInterval, mean_contributions, mean_gain, mean_score
from pipeline.runs.directory import best_step
from pipeline.runs.tasks import predictions_file, read_predictions

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
    seeds: int = len(long.SEEDS)
    """Number of seeds per side, from the first on."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints the share of the gain that students keep."""
    seeds = seeds_of(arguments)
    run_all([finetune(arguments, "all", side, seed) for seed in seeds for side in SIDES])
    run_all([finetune(arguments, "distilled", "mt5", seed) for seed in seeds])
    print(kept(arguments))


def seeds_of(arguments: Arguments) -> Sequence[int]:
    """Returns the seeds."""
    return long.SEEDS[: arguments.seeds]


def finetune(arguments: Arguments, mode: str, side: str, seed: int) -> Task:
    """Returns one fine-tuning."""
    name = f"{side}-{seed}"
    corpus = () if arguments.corpus is None else (f"--corpus={arguments.corpus}",)
    teacher = () if mode != "distilled" else (f"--teacher={arguments.out}/all/switch-{seed}",)
    command = (
        "finetune",
        f"--run={pretrained(arguments, side, seed)}",
        f"--task=sib200={arguments.data}",
        f"--out={arguments.out}/{mode}/{name}",
        *corpus,
        *teacher,
        *("--set", f"seed={seed}", *SETTINGS),
    )
    return Task(arguments.out / "logs" / f"{mode}-{name}.log", command)


def pretrained(arguments: Arguments, side: str, seed: int) -> Path:
    """Returns the run of a side and seed of 15,872 steps."""
    return arguments.runs / f"{side}-{seed}" / str(long.LONGER[0])


def kept(arguments: Arguments) -> str:
    """Returns the share of their teachers' gain that students keep, as Markdown."""
    baseline, teacher, student = (
        [predictions(arguments.out / f"{side}-{seed}") for seed in seeds_of(arguments)]
        for side in ("all/mt5", "all/switch", "distilled/mt5")
    )
    lines = ["| score | baseline | teacher | student | teacher's gain | student's | kept |"]
    lines.append("|---|---|---|---|---|---|---|")
    for metric in ACCURACIES:
        row = cells(baseline, teacher, student, metric)
        lines.append(f"| {metric.name} | {' | '.join(row)} |")
    return "\n".join(lines)


def predictions(run: Path) -> Predictions:
    """Returns the test predictions of a run's best step."""
    step = best_step(run)
    assert step is not None  # it is fine-tuned
    return read_predictions(predictions_file(run, "sib200", "test", step))


def cells(baseline: Runs, teacher: Runs, student: Runs, metric: Metric) -> list[str]:
    """Returns mean scores over languages, gains, and the share of the teacher's gain that is kept.

    The share is student's gain ÷ teacher's, as for losses (`eval/distillation.py`), with Fieller's
    95% set. There is none where the teacher's gain is not above 0 beyond noise, or where the set is
    unbounded, because the runs of a side are too few or differ much.
    """
    sides = baseline, teacher, student
    of_teacher, of_student = (mean_gain(baseline, runs, metric) for runs in (teacher, student))
    assert of_teacher is not None  # every language has 204 sentences
    assert of_student is not None
    row = [with_interval(mean_score(runs, metric)) for runs in sides]
    row += [with_interval(of_teacher, "+"), with_interval(of_student, "+")]
    bounds = None
    if of_teacher.low is not None and of_teacher.low > 0:
        parts = [part for runs in sides if (part := mean_contributions(runs, metric)) is not None]
        bounds = retained_set(parts, of_student.value, of_teacher.value).bounds
    if bounds is None:
        return [*row, "–"]
    low, high = bounds
    return [*row, f"{of_student.value / of_teacher.value:.0%} ({low:.0%} to {high:.0%})"]


def with_interval(estimate: ScoreInterval | None, sign: str = "") -> str:
    """Returns `61.3 [55.0, 67.6]`; the value alone where there is no interval."""
    assert estimate is not None
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.1f}"
    ends = f"{estimate.low:{sign}.1f}, {estimate.high:{sign}.1f}"
    return f"{estimate.value:{sign}.1f} [{ends}]"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
