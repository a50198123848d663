"""Beam's runner for this machine, with worker processes that receive the job's options.

By default a worker process of the embedded runner receives none of the options, and fills the
terminal with its log. Here it gets them, and it is started by `pipeline.beam.local_worker`.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job import utils
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)

# Interrupts the main thread, which waits on a lock. A shell's background jobs ignore SIGINT.
WAKE = signal.SIGUSR1
WORKER = f"{sys.executable} -m pipeline.beam.local_worker"


class LocalRunner(FnApiRunner):
    """The embedded runner for a job with these options."""

    def __init__(self, options: PipelineOptions):
        asked = options.get_all_options(drop_default=True, retain_unknown_options=True)
        # Numbers would travel as floats, and a worker that reads "2.0" for an int ends.
        sent = {k: str(v) if type(v) in (int, float) else v for k, v in asked.items()}
        info = beam_provision_api_pb2.ProvisionInfo(
            retrieval_token="unused-retrieval-token",
            pipeline_options=utils.dict_to_struct(sent),
        )
        super().__init__(provision_info=ExtendedProvisionInfo(info))

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs the graph, with `local_worker` as its worker processes."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = WORKER.encode()
        with interrupted_if_a_worker_ends():
            return super().run_via_runner_api(pipeline_proto, options)


class WorkerEnded(RuntimeError):
    """A worker process that ended before its work was done."""


@contextlib.contextmanager
def interrupted_if_a_worker_ends() -> Iterator[None]:
    """Ends the wait for a worker process that was killed; Beam would wait for it forever.

    Raises:
        WorkerEnded: if a worker process ended with another status than 0.
    """
    before, ended = threading.excepthook, []

    def note(error: threading.ExceptHookArgs) -> None:
        if error.thread is not None and error.thread.name == "run_worker":
            ended.append(str(error.exc_value))
            if len(ended) == 1:  # a second signal might arrive after its handler is gone
                os.kill(os.getpid(), WAKE)
        else:
            before(error)

    def wake(*_: object) -> None:
        raise WorkerEnded(
            f"A worker process was lost ({ended[0]}; -9 and 137: killed, often for memory); "
            "ask for fewer, for example -- --direct_num_workers=1."
        )

    threading.excepthook, former = note, signal.signal(WAKE, wake)
    try:
        yield
    finally:
        threading.excepthook = before
        signal.signal(WAKE, former)
