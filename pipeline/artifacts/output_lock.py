"""The lock that a command holds on its output directory for its whole life."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from data.stores.files import is_remote
from data.stores.locks import check_unlocked, locked
from pipeline.errors import ArtifactError
from pipeline.terminal import print_message


@contextmanager
def output_lock(out: Path | str, stage: str) -> Iterator[None]:
    """Holds the lock on an output directory within the block.

    Args:
        out: directory that the command writes to, local or remote.
        stage: name of the command.

    Raises:
        LockHeld: if another command holds it.
        ArtifactError: if the directory holds a symbolic link.
    """

    check_no_links(out, stage)
    with locked(out, stage, partial(_notify, stage)):
        yield


def check_free(out: Path | str, stage: str) -> None:
    """Checks that no other command holds the lock on an output directory, without taking it.

    Raises:
        LockHeld: if one does.
    """
    check_unlocked(out, partial(_notify, stage))


def _notify(stage: str, sentence: str) -> None:
    print_message(f"{stage}: {sentence}")


def check_no_links(out: Path | str, stage: str) -> None:
    """Checks that nothing below an output directory is a symbolic link.

    A link that someone left in an unfinished directory would send the output elsewhere. The
    directory itself may be one: it was named by the user.

    Raises:
        ArtifactError: if anything is.
    """
    if is_remote(out):
        return
    for folder, directories, files in os.walk(out):
        for name in (*directories, *files):
            path = Path(folder, name)
            if path.is_symlink():
                raise ArtifactError(
                    f"{stage} was asked to write to {out}, where {path.relative_to(out)} is a "
                    "symbolic link, and links are not followed; remove it, or name another --out."
                )
