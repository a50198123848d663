"""SIGTERM, Ctrl-C and SIGHUP: the run saves and exits within a stated number of seconds.

Schedulers reclaim a machine with SIGTERM and send SIGKILL later: after 30 s on Kubernetes, Slurm
and spot machines. The loop checks for the signal after every step. If it cannot stop in time,
because it compiles or a disk hangs, a thread ends the process, and the same command resumes from
the last whole checkpoint. A second signal ends it at once.

On several hosts the signal may reach only one of them, or each at another step. There JAX's
coordination service receives SIGTERM, and all hosts agree on one step; the other signals are passed
on as SIGTERM.
"""

import os
import signal
import threading
from types import TracebackType

import jax
from jax.experimental import multihost_utils

from pipeline.errors import PREEMPTED_STATUS
from pipeline.stopping import Signals, name_of, say

GRACE_SECONDS = 25  # of the 30 that schedulers grant
RESUMES = "the same command resumes from the last whole checkpoint."


class Preemption:
    """Listens for the signals that stop a run; a context manager.

    Args:
        stage: name of the command, for messages.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self._received = threading.Event()
        self._signals = Signals(self._first, self._second)

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            self._signals.__enter__()
        else:
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if jax.process_count() == 1:
            self._signals.__exit__()

    def reached(self, step: int) -> bool:
        """Returns whether to save after this step and stop; equal on all hosts."""
        if jax.process_count() == 1:
            return self._received.is_set()
        return multihost_utils.reached_preemption_sync_point(step)

    def received(self) -> bool:
        """Returns whether the signal reached this host, to abandon work that can be repeated."""
        return jax.process_count() == 1 and self._received.is_set()

    def _first(self, number: int) -> None:
        self._received.set()
        said = f"{name_of(number)}: saves after this step and exits within {GRACE_SECONDS} s."
        say(f"{self._stage}: {said}")
        end = threading.Timer(GRACE_SECONDS, self._end)
        end.daemon = True
        end.start()

    def _end(self) -> None:
        say(f"{self._stage}: could not save within {GRACE_SECONDS} s; {RESUMES}")
        os._exit(PREEMPTED_STATUS)

    def _second(self, number: int) -> None:
        say(f"{self._stage}: quits at once ({name_of(number)} again); {RESUMES}")
        os._exit(128 + number)
