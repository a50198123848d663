"""Where the evaluations of a run lie: losses of pages, and beside them routing and filled gaps."""

import re

from data.files.paths import Place, exists
from pipeline.errors import ArtifactError

FOLDER = "evaluation"
OF_STEP = re.compile(r"(routing-|gaps-)?step=(0|[1-9][0-9]{0,17})\.parquet")


def evaluation_file(directory: Place, step: int) -> Place:
    """Returns the path of a step's evaluation in a run directory."""
    return directory / FOLDER / f"step={step}.parquet"


def gaps_file(directory: Place, step: int) -> Place:
    """Returns the path of the gaps that an evaluation filled."""
    return directory / FOLDER / f"gaps-step={step}.parquet"


def routing_beside(path: Place) -> Place:
    """Returns the path of the routing of an evaluation's pages, or of predictions for a task.

    It holds how experts were used; a dense run has none.
    """
    return path.with_name(f"routing-{path.name}")


def routing_file(run: Place, step: int) -> Place:
    """Returns the routing file of a step.

    Raises:
        ArtifactError: if there is none.
    """
    path = routing_beside(evaluation_file(run, step))
    if not exists(path):
        raise ArtifactError(
            f"Gates by expert and language were expected in {path}, which does not exist; run "
            f"`mswitch evaluate --run {run} --step {step} --tokens TOKENS`, then the same command."
        )
    return path
