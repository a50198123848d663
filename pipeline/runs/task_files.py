"""The files of a run's predictions: `RUN/tasks/NAME/SPLIT-step=N.parquet`, and what they score.

A file has a row per example (`eval/tasks/predictions.py`); beside it lie the task's description
and, of a sparse run, `routing-SPLIT-step=N.parquet` with a row per switch layer and language
(`eval/experts.py`). JAX is not imported.
"""

from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.files.atomic import atomic_write
from data.files.json_files import read_json, write_json
from data.files.parquet_files import read_table
from data.files.paths import Place
from data.tasks.description import Task, task_of
from eval import experts as expert_sharing
from eval.tasks import metrics
from eval.tasks.metrics import metrics_of
from eval.tasks.predictions import MAY_BE_NULL, SCHEMA, Predictions, from_table
from pipeline.runs.evaluation_paths import routing_beside

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
    if routing is not None:
        _write(pa.table(routing, expert_sharing.WRITTEN), routing_beside(path))
    _write(table, path)


def _write(table: pa.Table, path: Place) -> None:
    with atomic_write(path, path.parent.parent.parent) as unfinished:
        pq.write_table(table, unfinished)


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
    metric = metrics_of(task.metric, bool(task.labels))[0]
    statistics = metric.statistics(predictions)
    languages, of_example = predictions.by_language
    return {
        code: metric.score(statistics[of_example == at].sum(axis=0))
        for at, code in enumerate(languages)
    }
