"""Tasks in a run's directory: predictions, losses of parallel sentences, fine-tuned runs read back.

A file has a row per example (`eval/tasks/predictions.py`); beside it lie the task's description
and, of a sparse run, `routing-SPLIT-step=N.parquet` with a row per switch layer and language
(`eval/experts.py`).

A fine-tuned run has a seed, training languages and the predictions of its best step. Its mode
follows from its training languages. A run that was trained on one language and predicted that one
alone is a part of the mode "each language alone". No JAX is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from data.files.json_files import read_json, write_json
from data.files.parquet_files import read_table, write_table
from data.files.paths import Place, directories_in, exists
from data.languages import get
from data.tasks.description import Task, task_of
from eval.experts import WRITTEN
from eval.tasks import metrics
from eval.tasks.comparison import (
    AMOUNTS,
    SENTENCES_SCHEMA,
    SentenceComparison,
    sentence_comparison,
)
from eval.tasks.metrics import task_metrics
from eval.tasks.predictions import MAY_BE_NULL, SCHEMA, Predictions, from_table
from pipeline.errors import ArtifactError
from pipeline.runs.directory import (
    BEST,
    RECIPE,
    RunRecord,
    best_step,
    find_finished_run,
    routing_beside,
)

DESCRIPTION = "task.json"


def predictions_file(directory: Place, task: str, split: str, step: int) -> Place:
    """Returns the path of the predictions of one split."""
    return directory / "tasks" / task / f"{split}-step={step}.parquet"


def write_predictions(
    path: Place, task: Task, table: pa.Table, routing: dict[str, list[Any]] | None = None
) -> None:
    """Writes predictions with an atomic rename, and before them what lies beside them.

    Args:
        path: file of the predictions.
        task: description of the task.
        table: predictions.
        routing: columns of the routing file; None for a dense run.
    """
    write_json(path.parent / DESCRIPTION, asdict(task))
    run = path.parent.parent.parent
    if routing is not None:
        write_table(pa.table(routing, WRITTEN), routing_beside(path), run)
    write_table(table, path, run)


def read_task_of(path: Place) -> Task:
    """Returns the description beside predictions."""
    place = path.parent / DESCRIPTION
    return task_of(read_json(place, dict[str, Any]), str(place))


def read_predictions(path: Place) -> Predictions:
    """Returns predictions.

    Raises:
        DataError: if the file is damaged.
    """
    return from_table(read_table(path, SCHEMA, MAY_BE_NULL), str(path))


def check_metric(task: Task) -> None:
    """Checks that the library of a task's metric is installed.

    Raises:
        DataError: if it is not.
    """
    if task.metric == "chrf":
        metrics.library()


def scores_by_language(task: Task, predictions: Predictions) -> dict[str, float]:
    """Returns the score of each language, in percent, by the task's first metric."""
    metric = task_metrics(task.metric, bool(task.labels))[0]
    statistics = metric.statistics(predictions)
    languages, numbers = predictions.by_language
    return {
        code: metric.score(statistics[numbers == number].sum(axis=0))
        for number, code in enumerate(languages)
    }


SENTENCES = "sentences"


def sentence_files(directory: Place, step: int) -> dict[str, Place]:
    """Returns the files of one step by the name of the text; none if it was not scored."""
    files = {
        name: predictions_file(directory, name, SENTENCES, step)
        for name in sorted(directories_in(directory / "tasks"))
    }
    return {name: path for name, path in files.items() if exists(path)}


def sentence_comparisons(
    baseline: Sequence[Mapping[str, Place]], candidate: Sequence[Mapping[str, Place]]
) -> tuple[SentenceComparison, ...]:
    """Returns the comparison on each text that every run was scored on.

    Args:
        baseline, candidate: files of each run.

    Raises:
        DataError: if a file is damaged, or the runs scored different sentences.
    """
    runs = [*baseline, *candidate]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    comparisons = [
        sentence_comparison(
            name,
            *(
                [read_table(run[name], SENTENCES_SCHEMA, ranges=AMOUNTS) for run in side]
                for side in (baseline, candidate)
            ),
        )
        for name in names
    ]
    return tuple(comparison for comparison in comparisons if comparison is not None)


ALL, ALONE = "all languages", "each language alone"
MOST_NAMED = 3  # languages that the name of a mode lists
TEST = "test"
SPLITS = (TEST, "development")


@dataclass(frozen=True, kw_only=True)
class FinetunedRun:
    """A finished fine-tuned run.

    Attributes:
        directory: its directory.
        seed: its seed.
        start: digest of the manifest of the run that it began as.
        trained_on: training languages; all if empty.
        files: predictions of the best step, by task.
        about: its recipe.json.
    """

    directory: Place
    seed: int
    start: str | None
    trained_on: tuple[str, ...]
    files: Mapping[str, Place]
    about: RunRecord

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """Predictions by task."""
        return {name: read_table(path, SCHEMA, MAY_BE_NULL) for name, path in self.files.items()}

    @property
    def mode(self) -> str:
        """Training languages, in words."""
        if not self.trained_on:
            return ALL
        predicted = {code for table in self.tables.values() for code in table["language"].unique()}
        if {str(code) for code in predicted} == set(self.trained_on) and len(predicted) == 1:
            return ALONE
        if len(self.trained_on) > MOST_NAMED:
            return f"{len(self.trained_on)} languages only"
        return f"{', '.join(get(code).name for code in self.trained_on)} only"


def read_finetuned(directory: Place) -> FinetunedRun:
    """Returns a finished fine-tuned run.

    Raises:
        ArtifactError: if there is none, or a task has no predictions.
    """
    about = find_finished_run(directory)
    recipe = about.recipe
    if not (finetuning := recipe.get("finetuning")):
        raise ArtifactError(
            f"A fine-tuned run was expected in {directory}, which holds one that learned no task; "
            "name a directory that `mswitch finetune` wrote."
        )
    return FinetunedRun(
        directory=directory,
        seed=recipe["seed"],
        start=about.inputs.get("start"),
        trained_on=tuple(sorted({get(code).code for code in finetuning["languages"]})),
        files={name: _predictions_of(directory, name) for name in finetuning["tasks"]},
        about=about,
    )


def files_read(directory: Place) -> dict[str, Place]:
    """Returns the files of a fine-tuned run that a report reads, by a name of each.

    Raises:
        ArtifactError: if there is no such run.
    """
    files = read_finetuned(directory).files
    read = {RECIPE: directory / RECIPE, BEST: directory / BEST}
    for name, path in files.items():
        beside = (path, path.parent / DESCRIPTION, routing_beside(path))
        read |= {f"{name}/{file.name}": file for file in beside if exists(file)}
    return read


def _predictions_of(directory: Place, task: str) -> Place:
    """Returns the predictions of the best step: of test data, or else of development data."""
    step = best_step(directory)
    if step is not None:
        for split in SPLITS:
            if exists(path := predictions_file(directory, task, split, step)):
                return path
    raise ArtifactError(
        f"Predictions of {task} were expected in {directory / 'tasks' / task}, which has none of "
        "the best step; let `mswitch finetune` finish."
    )
