"""The lock that a command holds on its output directory for its whole life."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.stores.files import is_remote
from data.stores.locks import locked
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

    def notify(sentence: str) -> None:
        print_message(f"{stage}: {sentence}")

    check_no_links(out, stage)
    with locked(out, stage, notify):
        yield


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
