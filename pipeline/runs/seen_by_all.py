"""One view of a run's checkpoints for all hosts: a network file system may show an old one.

NFS shows a host its directories as they were up to a minute ago. A host that lacks a checkpoint
there would take another way through the program than the rest, or call a whole one damaged.
"""

import time

import jax

from data.stores.addresses import Place
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import agreed
from pipeline.runs.directory import saved_steps

VIEW_SECONDS = (
    90.0  # NFS keeps the attributes of a directory for at most 60 s unless told otherwise
)
LOOK_SECONDS = 0.5


def wait_until_seen(directory: Place) -> None:
    """Waits until this host sees every checkpoint of a run that any host sees.

    Every host must call this.

    Raises:
        ArtifactError: if it does not within `VIEW_SECONDS`.
    """
    seen = agreed(saved_steps(directory), lambda views: sorted(set().union(*views)))
    end = time.monotonic() + VIEW_SECONDS
    while missing := sorted({*seen} - {*saved_steps(directory)}):
        if time.monotonic() > end:
            raise ArtifactError(
                f"Checkpoint {missing[-1]} of {directory} is there for other hosts, and host "
                f"{jax.process_index()} did not see it for {VIEW_SECONDS:.0f} s; give all hosts "
                "the same directory on one file system, and the same command goes on."
            )
        time.sleep(LOOK_SECONDS)
    agreed(True, all)  # none goes on, and deletes an old checkpoint, while another looks
