"""Both sides of a report on tasks, from their fine-tuned runs: by task, mode and seed.

Runs of the mode "each language alone" are put together per seed. JAX is not imported.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from data.files.parquet_files import read_table
from data.files.paths import exists
from data.tasks.description import Task
from eval.experts import SCHEMA, ExpertSharing, expert_sharing
from eval.sides import Difference
from eval.tasks.comparison import Mode, TaskComparison, mode_scores
from eval.tasks.metrics import largest_class, task_metrics
from eval.tasks.predictions import Predictions, from_table
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Differs, fixed_settings
from pipeline.reporting.sides import (
    digests_in_words,
    listed_differences,
    without_experts,
)
from pipeline.runs.directory import best_step, routing_beside
from pipeline.runs.tasks import ALL, ALONE, TEST, FinetunedRun, read_task_of


class Cell(NamedTuple):
    """Runs of one side on one task in one mode.

    Attributes:
        task: description of the task.
        split: split that was predicted.
        trained_on: training languages; all if empty.
        predictions: predictions by seed.
        experts: expert use of the run of the first seed; None for several runs per seed, whose
            experts differ, and where none is recorded.
    """

    task: Task
    split: str
    trained_on: tuple[str, ...]
    predictions: dict[int, Predictions]
    experts: ExpertSharing | None


Cells = dict[tuple[str, str], Cell]  # by task and mode


def task_comparisons(
    baseline: Sequence[FinetunedRun],
    candidate: Sequence[FinetunedRun],
    starts: tuple[Collection[str], Collection[str]],
) -> tuple[TaskComparison, ...]:
    """Returns both sides' scores on every task; none without runs.

    Args:
        baseline, candidate: fine-tuned runs.
        starts: digests of the manifests of each side's pretrained runs.

    Raises:
        ArtifactError: if a run is none of its side, or the sides have other tasks or modes.
        DataError: if runs predicted different examples.
    """
    sides = [
        cells(name, runs, started)
        for name, runs, started in zip(
            ("baseline", "candidate"), (baseline, candidate), starts, strict=True
        )
    ]
    check_same_cells(*sides)
    tasks = sorted({task for task, _ in sides[0]})
    return tuple(_comparison(task, *sides) for task in tasks)


def task_differences(
    baseline: Sequence[FinetunedRun], candidate: Sequence[FinetunedRun], *, allowed: bool
) -> tuple[Difference, ...]:
    """Returns the settings of fine-tuning in which runs on one task and mode differ.

    How often a run was evaluated counts, because its best step is taken. Which run it began as and
    its training languages are checked by `task_comparisons`.

    Raises:
        ArtifactError: if there are any and none are allowed.
    """
    different: list[Difference] = []
    for task, mode in dict.fromkeys(
        (task, run.mode) for run in (*baseline, *candidate) for task in run.files
    ):
        sides = [
            [_settings(run) for run in runs if task in run.files and run.mode == mode]
            for runs in (baseline, candidate)
        ]
        different += (
            setting._replace(field=f"{setting.field} ({task}, {mode})")
            for setting in listed_differences([*sides[0], *sides[1]], len(sides[0]))
        )
    if different and not allowed:
        said = "; ".join(
            f"{field}: {', '.join(dict.fromkeys(ours + theirs))}"
            for field, ours, theirs in different
        )
        raise ArtifactError(
            f"The runs of --baseline-tasks and --candidate-tasks were fine-tuned with different "
            f"settings ({said}); fine-tune them alike, or add --allow-differences: the report then "
            "lists them."
        )
    return tuple(different)


def _settings(run: FinetunedRun) -> dict[str, Any]:
    """Returns what must be equal in all runs on a task and mode."""
    whole = run.about.recipe
    every = {k: v for k, v in whole.items() if k == "evaluate_every"}  # it chooses the best step
    recipe = fixed_settings(whole, Differs.SIDES) | every
    inputs = {k: v for k, v in run.about.inputs.items() if k not in ("start", "corpus")}
    finetuning = {k: v for k, v in recipe["finetuning"].items() if k != "languages"}
    if run.mode == ALONE:  # longest answer and examples are those of the language
        finetuning.pop("targets", None)
        inputs = {name: digest for name, digest in inputs.items() if not name.startswith("task ")}
    recipe = without_experts({**recipe, "finetuning": finetuning})
    numerics = {"version of the numerics": run.about.numerics_version}
    return recipe | digests_in_words(inputs) | numerics


def cells(side: str, runs: Sequence[FinetunedRun], starts: Collection[str]) -> Cells:
    """Returns the runs of a side by task and mode.

    Raises:
        ArtifactError: if a run began as none of its side, two have one mode and seed, or a task
            has several descriptions or splits.
        DataError: if a file is damaged.
    """
    grouped: dict[tuple[str, str], dict[int, list[FinetunedRun]]] = {}
    for run in runs:
        if run.start not in starts:
            raise ArtifactError(
                f"--{side}-tasks names {run.directory}, which was fine-tuned from none of the runs "
                f"of --{side} that are finished; name one that was, or the run that it began as."
            )
        for task in run.files:
            grouped.setdefault((task, run.mode), {}).setdefault(run.seed, []).append(run)
    return {(task, mode): _cell(task, mode, runs) for (task, mode), runs in grouped.items()}


def _cell(task: str, mode: str, by_seed: Mapping[int, Sequence[FinetunedRun]]) -> Cell:
    runs = [run for of_seed in by_seed.values() for run in of_seed]
    _check_training_languages(task, mode, by_seed)
    paths = [run.files[task] for run in runs]
    descriptions = [read_task_of(path) for path in paths]
    splits = [path.name.partition("-")[0] for path in paths]
    for other, description, split in zip(paths, descriptions, splits, strict=True):
        if (description, split) != (descriptions[0], splits[0]):
            raise ArtifactError(
                f"{paths[0]} and {other} are of different splits or descriptions of {task}; name "
                "runs of one."
            )
    return Cell(
        descriptions[0],
        splits[0],
        tuple(sorted({code for run in runs for code in run.trained_on})),
        {seed: _predictions(task, by_seed[seed]) for seed in sorted(by_seed)},
        None if mode == ALONE else _expert_use(task, by_seed[min(by_seed)][0]),
    )


def _check_training_languages(
    task: str, mode: str, by_seed: Mapping[int, Sequence[FinetunedRun]]
) -> None:
    """Checks that no seed was trained on the same languages twice, or seeds on different ones."""
    for of_seed in by_seed.values():
        parts = [run.trained_on for run in of_seed]
        if len(set(parts)) < len(parts) or (mode != ALONE and len(parts) > 1):
            which = "the same" if len(set(parts)) < len(parts) else "two sets of"
            raise ArtifactError(
                f"{of_seed[0].directory} and {of_seed[-1].directory} have one seed and were "
                f"trained on {which} languages of {task} ({mode}); name one of them."
            )
    first, *others = (of_seed[0] for of_seed in by_seed.values())
    other = next((run for run in others if run.trained_on != first.trained_on), None)
    if mode != ALONE and other is not None:
        raise ArtifactError(
            f"{first.directory} and {other.directory} were trained on different languages of "
            f"{task} ({', '.join(first.trained_on)} against {', '.join(other.trained_on)}); "
            "seeds of one side need the same."
        )


def _expert_use(task: str, run: FinetunedRun) -> ExpertSharing | None:
    path = routing_beside(run.files[task])
    if not exists(path):
        return None
    step = best_step(run.directory)
    assert step is not None  # its predictions are those of the best step
    name = f"seed {run.seed}, trained on {run.mode}"
    return expert_sharing(read_table(path, SCHEMA), run=name, step=step, origin=str(path))


def _predictions(task: str, runs: Sequence[FinetunedRun]) -> Predictions:
    table = pa.concat_tables([run.tables[task] for run in runs])
    return from_table(table, ", ".join(str(run.files[task]) for run in runs[:3]))


def check_same_cells(baseline: Cells, candidate: Cells) -> None:
    """Checks that both sides have the same tasks, modes and splits.

    Raises:
        ArtifactError: if they do not.
    """
    for cells_of_side, others, name in (
        (baseline, candidate, "candidate"),
        (candidate, baseline, "baseline"),
    ):
        if missing := [key for key in cells_of_side if key not in others]:
            task, mode = missing[0]
            raise ArtifactError(
                f"The {name} has no run on {task} trained on {mode}, which the other side has; "
                f"name it in --{name}-tasks, or leave it out on both sides."
            )
    for (task, mode), cell in baseline.items():
        other = candidate[task, mode]
        if cell[:2] != other[:2]:
            raise ArtifactError(
                f"The sides have different splits or descriptions of {task} (trained on {mode}: "
                f"{cell.split} against {other.split}); fine-tune both on one."
            )
        if cell.trained_on != other.trained_on:
            raise ArtifactError(
                f"The sides were trained on different languages of {task} "
                f"({', '.join(cell.trained_on)} against {', '.join(other.trained_on)}); fine-tune "
                "both on the same."
            )


def _comparison(task: str, baseline: Cells, candidate: Cells) -> TaskComparison:
    """Returns the comparison on a task: all languages first, each language alone last."""
    modes = sorted(
        (mode for name, mode in baseline if name == task),
        key=lambda mode: (0 if mode == ALL else 2 if mode == ALONE else 1, mode),
    )
    cell = baseline[task, modes[0]]
    labels, predicted = cell.task.labels, next(iter(cell.predictions.values()))
    targets = [answers[0] for answers in predicted.answers]
    return TaskComparison(
        name=task,
        split=cell.split,
        largest_class=largest_class(predicted.language, targets) if labels else None,
        random_label=100 / len(labels) if labels else None,
        modes=tuple(_mode(mode, baseline[task, mode], candidate[task, mode]) for mode in modes),
        experts=next((use for mode in modes if (use := candidate[task, mode].experts)), None),
    )


def _mode(name: str, baseline: Cell, candidate: Cell) -> Mode:
    runs = (*baseline.predictions.values(), *candidate.predictions.values())
    has_labels = all(run.has_labels for run in runs)
    # Development data choose a step by the losses of labels, so no text is generated beside them.
    metrics = task_metrics(baseline.task.metric, has_labels, has_text=baseline.split == TEST)
    return mode_scores(
        name, baseline.predictions, candidate.predictions, metrics, trained_on=baseline.trained_on
    )
