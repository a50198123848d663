"""The files of a run's predictions: `RUN/tasks/NAME/SPLIT-step=N.parquet`, and what they score.

A file has a row per example (`eval/tasks/predictions.py`); beside it lies the task's description.
JAX is not imported.
"""

from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.stores.addresses import Place
from data.stores.atomic import atomic_write
from data.stores.json_files import read_json, write_json
from data.stores.parquet_files import read_table
from data.tasks.description import Task, task_of
from eval.tasks.metrics import metrics_of
from eval.tasks.predictions import SCHEMA, Predictions, from_table

DESCRIPTION = "task.json"


def predictions_file(directory: Place, task: str, split: str, step: int) -> Place:
    """Returns the path of the predictions of one split."""
    return directory / "tasks" / task / f"{split}-step={step}.parquet"


def write_predictions(path: Place, task: Task, table: pa.Table) -> None:
    """Writes predictions with an atomic rename, and before them the task's description."""
    write_json(path.parent / DESCRIPTION, asdict(task))
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
    return from_table(read_table(path, SCHEMA), str(path))


def scores_by_language(task: Task, predictions: Predictions) -> dict[str, float]:
    """Returns the score of each language, in percent, by the task's first metric."""
    metric = metrics_of(task.metric, bool(task.labels))[0]
    statistics = metric.statistics(predictions)
    languages, of_example = predictions.by_language
    return {
        code: metric.score(statistics[of_example == at].sum(axis=0))
        for at, code in enumerate(languages)
    }
