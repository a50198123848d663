"""A worker process of the local runner: Beam's own, without its log on the terminal.

Once the line to the runner is cut, it ends at once. That is a named pipe that only the runner holds
open for writing, so a runner that ends in whatever way cuts it. A signal cuts it too, because Beam
waits for its workers before it lets a command end. What a worker leaves unfinished is unpublished,
and is made again.

The log still reaches the runner, which shows warnings. An error of the work reaches it too, as the
job's failure; Beam's worker (2.77.0) also prints and logs its traceback, each of 70 lines.
"""

import contextlib
import logging
import os
import select
import sys
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


def main() -> None:
    """Runs the worker until the runner ends it, or has ended."""
    end_with_the_runner()
    logging.basicConfig(handlers=[logging.NullHandler()])
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    from pipeline.beam.failures import hide_reported_errors

    hide_reported_errors()
    logging.getLogger(sdk_worker.__name__).addFilter(is_not_the_failure)
    logging.getLogger(sdk_worker_main.__name__).addFilter(is_worth_reading)
    sdk_worker.__dict__["print"] = lambda *_, **__: None  # it prints nothing but such tracebacks
    sdk_worker_main.main(sys.argv)


def is_not_the_failure(record: logging.LogRecord) -> bool:
    """Returns False for an error of the work, which the runner raises."""
    return not record.getMessage().startswith("Error processing instruction")


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Returns False for the warning that `__main__` was not pickled: all code is in packages."""
    return "registeries may not be effective" not in record.getMessage()


if __name__ == "__main__":
    main()
