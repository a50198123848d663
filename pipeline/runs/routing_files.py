"""`RUN/evaluation/routing-step=N.parquet` with the gates of each expert, for whoever prunes."""

import pyarrow.parquet as pq

from data.stores.addresses import Place
from data.stores.files import exists, local_copy
from data.stores.parquet_files import sentences_for
from pipeline.errors import ArtifactError


def routing_with_gates(run: Place, step: int) -> Place:
    """Returns the routing file of a step.

    Raises:
        ArtifactError: if there is none, or an earlier version wrote it, without gates.
    """
    path = run / "evaluation" / f"routing-step={step}.parquet"
    if not exists(path):
        found = "does not exist"
    elif "gate" not in _columns(path):
        found = "an earlier version wrote without them"
    else:
        return path
    raise ArtifactError(
        f"Gates by expert and language were expected in {path}, which {found}; run "
        f"`mswitch evaluate --run {run} --step {step} --tokens TOKENS`, then the same command."
    )


def _columns(path: Place) -> list[str]:
    with sentences_for(str(path)), local_copy(str(path)) as here:
        return pq.read_schema(here).names
