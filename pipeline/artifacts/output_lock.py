"""The lock that a command holds on its output directory for its whole life."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from data.stores.locks import locked


def output_lock(out: Path | str, stage: str) -> AbstractContextManager[None]:
    """Holds the lock on an output directory within the block.

    Args:
        out: directory that the command writes to, local or remote.
        stage: name of the command.

    Raises:
        LockHeld: if another command holds it.
    """

    def notify(sentence: str) -> None:
        print(f"{stage}: {sentence}", file=sys.stderr, flush=True)

    return locked(out, stage, notify)
