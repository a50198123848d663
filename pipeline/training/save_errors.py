"""Failures to write a run, as one sentence for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

from data.files.paths import Place
from model.checkpoints.errors import DISK_FULL, CheckpointError
from pipeline.errors import ArtifactError


@contextmanager
def explain_save_errors(out: Place) -> Iterator[None]:
    """Raises an `ArtifactError` in place of a checkpoint error or a full disk.

    Raises:
        ArtifactError: if a checkpoint is damaged or cannot be written, or the disk is full.
    """
    try:
        yield
    except CheckpointError as error:
        raise ArtifactError(str(error)) from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ArtifactError(
            f"The disk of {out} is full ({error.strerror}); make room: the same "
            "command then resumes from the last whole checkpoint."
        ) from error
