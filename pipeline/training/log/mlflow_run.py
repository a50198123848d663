"""The tracked run at MLflow: in the folder `RUN/mlflow` unless MLFLOW_TRACKING_URI names a server.

MLFLOW_EXPERIMENT_NAME names another experiment. MLflow 3 keeps its folders working but asks for
MLFLOW_ALLOW_FILE_STORE; a database would need SQLAlchemy beside `mlflow-skinny`.
"""

import importlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import json_leaves
from pipeline.training.log.tracking import PROJECT, TrackedRun

# Nothing goes out unless asked for; a server that does not answer is given up within a minute.
ENVIRONMENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which may hold a password
}
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
mlflow: Any = importlib.import_module("mlflow")  # of an extra, so no type checker finds it

STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MOST_PARAMETERS = 100  # per request


class MlflowRun:
    """One tracked run.

    Args:
        client: client of the tracking store.
        identity: the run's id there.
    """

    def __init__(self, client: Any, identity: str):
        self.client, self.identity = client, identity

    def add(self, numbers: Mapping[str, float], step: int) -> None:
        """Adds numbers of a step, by name."""
        now = round(time.time() * 1000)
        metrics = [
            mlflow.entities.Metric(name, float(value), now, step) for name, value in numbers.items()
        ]
        self.client.log_batch(self.identity, metrics=metrics)

    def end(self, state: str) -> None:
        """Ends the run."""
        self.client.set_terminated(self.identity, STATES[state])


def start(tracked: TrackedRun) -> MlflowRun:
    """Begins the tracked run with the recipe as its parameters, or continues it."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a warning per attempt
    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", _local(tracked)))
    if tracked.identity is not None:
        client.update_run(tracked.identity, status="RUNNING")
        return MlflowRun(client, tracked.identity)
    run = client.create_run(_experiment(client), run_name=tracked.directory.name)
    for parameters in _parameters(tracked.recipe):
        client.log_batch(run.info.run_id, params=parameters)
    return MlflowRun(client, run.info.run_id)


def _local(tracked: TrackedRun) -> str | None:
    """Returns the folder in the run; None for a run in a store, which has a server."""
    here = tracked.directory
    return (here / "mlflow").resolve().as_uri() if isinstance(here, Path) else None


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    experiment = client.get_experiment_by_name(name)
    return client.create_experiment(name) if experiment is None else experiment.experiment_id


def _parameters(recipe: Mapping[str, Any]) -> Iterator[list[Any]]:
    leaves = [
        mlflow.entities.Param(name, str(value)) for name, value in json_leaves(recipe).items()
    ]
    for first in range(0, len(leaves), MOST_PARAMETERS):
        yield leaves[first : first + MOST_PARAMETERS]
