"""SIGTERM: the run saves, prints a message, and exits within a stated number of seconds.

Schedulers reclaim a machine with SIGTERM and send SIGKILL later: after 30 s on Kubernetes, Slurm
and spot machines. The loop checks for the signal after every step. If it cannot stop in time,
because it compiles or a disk hangs, a thread ends the process, and the same command resumes from
the last whole checkpoint.

On several hosts the signal may reach only one of them, or each at another step. There JAX's
coordination service receives it, and all hosts agree on one step.
"""

import os
import signal
import socket
import threading
from types import TracebackType

import jax
from jax.experimental import multihost_utils

from pipeline.errors import PREEMPTED_STATUS
from pipeline.terminal import print_message

GRACE_SECONDS = 25  # of the 30 that schedulers grant


class Preemption:
    """Listens for SIGTERM; a context manager.

    Args:
        stage: name of the command, for messages.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self._received = threading.Event()

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            # Python runs a signal handler in the main thread, which may be compiling; the wake-up
            # socket is written at once.
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
        """Returns whether to save after this step and stop; equal on all hosts."""
        if jax.process_count() == 1:
            return self._received.is_set()
        return multihost_utils.reached_preemption_sync_point(step)

    def received(self) -> bool:
        """Returns whether the signal reached this host, to abandon work that can be repeated."""
        return jax.process_count() == 1 and self._received.is_set()

    def _watch(self) -> None:
        while received := self._read.recv(1):
            if received[0] == signal.SIGTERM:
                break
        else:
            self._read.close()
            return  # the context ended without a signal
        self._received.set()
        self._print(f"SIGTERM: saves after this step and exits within {GRACE_SECONDS} s.")
        threading.Event().wait(GRACE_SECONDS)
        self._print(
            f"could not save within {GRACE_SECONDS} s; the same command resumes from the last "
            "whole checkpoint."
        )
        os._exit(PREEMPTED_STATUS)

    def _print(self, message: str) -> None:
        print_message(f"{self._stage}: {message}")
