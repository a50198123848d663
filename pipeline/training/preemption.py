"""SIGTERM: save, say so, and leave within a named number of seconds.

Schedulers take a machine back with SIGTERM and SIGKILL some time later (30 s on Kubernetes, on
Slurm and on spot machines). The loop asks after every step whether it should stop; if it cannot
answer in time, because it compiles or a disk hangs, a thread ends the process all the same, and the
last whole checkpoint is where the same command goes on.

With several hosts the signal may reach one of them only, or each at another step. There JAX's
coordination service listens, and all hosts agree on one step.
"""

import os
import signal
import socket
import sys
import threading
from types import TracebackType

import jax
from jax.experimental import multihost_utils

from pipeline.errors import PREEMPTED_STATUS

GRACE_SECONDS = 25  # of the 30 that schedulers give


class Preemption:
    """Listens for SIGTERM while it is open; `stage` is the command that it speaks for."""

    def __init__(self, stage: str):
        self._stage = stage
        self._asked = threading.Event()

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            # A signal handler in Python waits for the main thread, which may be compiling; the
            # wake-up socket is written at once.
            self._read, self._write = socket.socketpair()
            self._write.setblocking(False)
            self._former = signal.signal(signal.SIGTERM, lambda *_: None)
            signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if jax.process_count() == 1:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, self._former)
            self._write.close()

    def reached(self, step: int) -> bool:
        """Returns whether the run should save after this step and stop; the same on all hosts."""
        if jax.process_count() == 1:
            return self._asked.is_set()
        return multihost_utils.reached_preemption_sync_point(step)

    def asked(self) -> bool:
        """Returns whether the signal has reached this host; for what may be left undone."""
        return jax.process_count() == 1 and self._asked.is_set()

    def _watch(self) -> None:
        while received := self._read.recv(1):
            if received[0] == signal.SIGTERM:
                break
        else:
            self._read.close()
            return  # ended without a signal
        self._asked.set()
        print(
            f"{self._stage}: SIGTERM: saves after this step and exits within {GRACE_SECONDS} s.",
            file=sys.stderr,
            flush=True,
        )
        threading.Event().wait(GRACE_SECONDS)
        print(
            f"{self._stage}: could not save within {GRACE_SECONDS} s; the same command goes on "
            "from the last whole checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(PREEMPTED_STATUS)
