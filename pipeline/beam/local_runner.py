"""Beam's embedded runner, whose worker processes receive the job's options.

Beam's own passes them none of the options, and fills the terminal with their logs. Here workers are
started by `pipeline.beam.local_worker` and receive the options.
"""

import contextlib
import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job import utils
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)

from pipeline.beam.worker_line import line_to_workers
from pipeline.stopping import signals_came

# Interrupts the main thread, which waits on a lock. A shell's background jobs ignore SIGINT.
WAKE = signal.SIGUSR1
# What a worker logs, within the runner's record of it (Beam 2.77.0): a protocol buffer as text.
LOGGED = re.compile(r' message: "((?:[^"\\]|\\.)*)"')
KILLED = ("-9", "137")  # SIGKILL, as Python and as a shell report it
# Ctrl-C and a closed terminal are the runner's, also while a worker starts. -P: a folder named data
# in the working directory is not our package.
WORKER = f"trap '' INT HUP; exec {shlex.quote(sys.executable)} -P -m pipeline.beam.local_worker"


class LocalRunner(FnApiRunner):
    """The embedded runner for one job."""

    def __init__(self, options: PipelineOptions):
        given = options.get_all_options(drop_default=True, retain_unknown_options=True)
        # Numbers would travel as floats, and a worker that parses "2.0" as an int fails.
        as_text = {k: str(v) if type(v) in (int, float) else v for k, v in given.items()}
        info = beam_provision_api_pb2.ProvisionInfo(
            retrieval_token="unused-retrieval-token",
            pipeline_options=utils.dict_to_struct(as_text),
        )
        super().__init__(provision_info=ExtendedProvisionInfo(info))

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs the graph with worker processes of `pipeline.beam.local_worker`."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = WORKER.encode()
        logging.getLogger(local_job_service.__name__).addFilter(as_the_worker_logs)
        with line_to_workers(), interrupted_if_a_worker_ends():
            return super().run_via_runner_api(pipeline_proto, options)


def as_the_worker_logs(record: logging.LogRecord) -> bool:
    """Shortens the runner's record of what a worker logs to its message; shows all records."""
    if found := LOGGED.search(record.getMessage()):
        escaped = found[1].encode().decode("unicode_escape")
        record.msg, record.args = escaped.encode("latin-1").decode("utf-8", "replace"), ()
        record.name = "worker"
    return True


class WorkerEnded(RuntimeError):
    """A worker process that ended before its work was finished."""


@contextlib.contextmanager
def interrupted_if_a_worker_ends() -> Iterator[None]:
    """Ends the wait for a worker process that was killed; Beam would wait for it forever.

    Raises:
        WorkerEnded: if a worker process ends with a status other than 0.
    """
    before, ended = threading.excepthook, []

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is not None and error.thread.name == "run_worker":
            ended.append(str(error.exc_value))
            # One signal: a second could arrive after the handler is removed.
            if len(ended) == 1 and not signals_came():
                os.kill(os.getpid(), WAKE)
        else:
            before(error)

    def wake(*_: object) -> None:
        if signals_came():  # which ends the command by itself
            return
        raise WorkerEnded(how_it_ended(ended[0]))

    threading.excepthook, former = note, signal.signal(WAKE, wake)
    try:
        yield
    finally:
        threading.excepthook = before
        signal.signal(WAKE, former)


def how_it_ended(reason: str) -> str:
    """Returns a sentence about a worker process that ended; `reason` ends with its status."""
    status = reason.rpartition(" ")[2]
    if status in KILLED:
        return (
            f"A worker process was killed (status {status}), as is done when memory is short; run "
            "fewer, for example -- --direct_num_workers=1."
        )
    return f"A worker process ended before its work did ({reason}); report this."
