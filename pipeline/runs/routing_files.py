"""`RUN/evaluation/routing-step=N.parquet`: how experts were used, for whoever prunes."""

from data.stores.addresses import Place
from data.stores.files import exists
from pipeline.errors import ArtifactError


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
