"""One view of a run's checkpoints for all hosts: a network file system may show an old one.

NFS shows a host its directories as they were up to a minute ago. A host that lacks a checkpoint
there would take another way through the program than the rest, or call a whole one damaged.
"""

import math
import time
from collections.abc import Sequence

from data.files.paths import Place
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import agreed
from pipeline.runs.directory import saved_steps

VIEW_SECONDS = (
    90.0  # NFS keeps the attributes of a directory for at most 60 s unless told otherwise
)
LOOK_SECONDS = 0.5


def wait_until_seen(directory: Place) -> None:
    """Waits until every host sees the same checkpoints of a run.

    Every host must call this.

    Raises:
        ArtifactError: if they do not within `VIEW_SECONDS`.
    """
    missing = _missing(directory)
    for _ in range(math.ceil(VIEW_SECONDS / LOOK_SECONDS)):
        if not missing:
            return
        time.sleep(LOOK_SECONDS)
        missing = _missing(directory)
    raise ArtifactError(
        f"Checkpoint {missing[-1]} of {directory} is there for some hosts, and others did not see "
        f"it for {VIEW_SECONDS:.0f} s; give all hosts the same directory on one file system, and "
        "the same command goes on."
    )


def _missing(directory: Place) -> list[int]:
    """Returns the checkpoints that some hosts see and not all.

    All look anew each time: a run that still trains deletes its old ones.
    """

    def missing(views: Sequence[list[int]]) -> list[int]:
        return sorted(set().union(*views) - set(views[0]).intersection(*views))

    return agreed(saved_steps(directory), missing)
