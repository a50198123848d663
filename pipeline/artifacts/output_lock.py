"""The lock that a command holds on its output directory for its whole life."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from data.files.locks import check_unlocked, locked
from pipeline.terminal import print_message


@contextmanager
def output_lock(out: Path | str, stage: str) -> Iterator[None]:
    """Holds the lock on an output directory within the block.

    Args:
        out: directory that the command writes to, local or remote.
        stage: name of the command.

    Raises:
        LockHeld: if another command holds it.
    """
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
