"""`routing-*.parquet` beside what was scored: how experts were used; a dense run has none."""

from data.stores.addresses import Place
from data.stores.files import exists
from pipeline.errors import ArtifactError


def routing_beside(path: Place) -> Place:
    """Returns the path of the routing of an evaluation's pages, or of predictions for a task."""
    return path.with_name(f"routing-{path.name}")


def routing_file(run: Place, step: int) -> Place:
    """Returns the routing file of a step.

    Raises:
        ArtifactError: if there is none.
    """
    path = run / "evaluation" / f"routing-step={step}.parquet"
    if not exists(path):
        raise ArtifactError(
            f"Gates by expert and language were expected in {path}, which does not exist; run "
            f"`mswitch evaluate --run {run} --step {step} --tokens TOKENS`, then the same command."
        )
    return path
