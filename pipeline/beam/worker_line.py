"""The line from the local runner to its worker processes: once it is cut, they end at once.

It is a named pipe that only the runner holds open for writing, so a runner that ends in whatever
way cuts it. A signal cuts it too, because Beam waits for its workers before it lets a command end.
What a worker leaves unfinished is unpublished, and is made again.
"""

import contextlib
import logging
import os
import select
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pipeline.stopping import at_first_signal

VARIABLE = "MSWITCH_WORKER_LINE"


@contextlib.contextmanager
def line_to_workers() -> Iterator[None]:
    """Keeps the line open within the block, unless a signal arrives."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as line:
        path = Path(directory, "line")
        os.mkfifo(path, 0o600)
        line.callback(os.close, os.open(path, os.O_RDWR))  # which no worker process inherits
        os.environ[VARIABLE] = str(path)
        try:
            with at_first_signal(_hide_errors), at_first_signal(line.close):
                yield
        finally:
            del os.environ[VARIABLE]


def _hide_errors() -> None:
    """Hides the runner's errors about workers that end; the command reports why it stops."""
    logging.disable()
    threading.excepthook = lambda _: None


def end_with_the_runner() -> None:
    """Ends this worker process as soon as its line is cut."""
    if path := os.environ.get(VARIABLE):
        threading.Thread(target=_end_once_cut, args=(path,), name="line", daemon=True).start()


def _end_once_cut(path: str) -> None:
    with contextlib.suppress(OSError):  # the runner has removed it
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):  # the line is open, and nothing is written
            os.read(end, 1)  # if it was cut before it was opened, `select` would wait for ever
            os._exit(0)
        select.select([end], [], [])
    os._exit(0)
