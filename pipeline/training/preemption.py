"""SIGTERM, Ctrl-C and SIGHUP: the run saves and exits within a stated number of seconds.

Schedulers reclaim a machine with SIGTERM and send SIGKILL later: after 30 s on Kubernetes, Slurm
and spot machines. The loop looks for the signal after every step and every batch of an evaluation.
If it cannot stop in time, because it compiles or a disk hangs, a thread ends the process, and the
same command resumes from the last whole checkpoint. A second signal ends it at once.

On several hosts the signal may reach only one of them, or each at another step. All hosts pass the
same points, one per step or batch, but not at the same time. The host with the signal asks all to
stop. In each, a thread stops the count of points and sends it to the first host, which decides on
the point after the largest; no host has passed that one.
"""

import os
import threading
from types import TracebackType

from pipeline.errors import PREEMPTED_STATUS
from pipeline.hardware.coordination import agreed, reach_sync_point
from pipeline.hardware.host_watch import host_watch
from pipeline.stopping import Signals, check_no_signal, name_of, say

GRACE_SECONDS = 25  # of the 30 that schedulers grant
RESUMES = "the same command resumes from the last whole checkpoint."


class Preemption:
    """Listens for the signals that stop a run; a context manager.

    Args:
        stage: name of the command, for messages.

    Attributes:
        asked: whether a signal came to this host before the context ended. After it no timer ends
            the process, so a signal after the last point is for whoever comes next to answer.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self._signals = Signals(self._first, self._second)
        self._counting, self._points = threading.Lock(), 0
        self._stop_at: int | None = None
        self._reached = self._closed = self.asked = False
        self._patience: threading.Timer | None = None
        self._hosts = host_watch()
        if self._hosts is not None:
            self._hosts.when_asked(self._asked)

    def __enter__(self) -> "Preemption":
        check_no_signal()
        self._signals.__enter__()
        return self

    def __exit__(
        self,
        error: type[BaseException] | None = None,
        *_: BaseException | TracebackType | None,
    ) -> None:
        self._signals.__exit__()
        with self._counting:
            self._closed = True
            if self._patience is not None and error is None and not self._reached:
                self._patience.cancel()  # whoever reads `asked` answers the signal

    def reached(self) -> bool:
        """Returns whether to stop at this point, which every host passes; equal on all hosts."""
        reach_sync_point()
        with self._counting:
            self._points += 1
            self._reached = self._stop_at is not None and self._points >= self._stop_at
        return self._reached

    def _first(self, number: int) -> None:
        with self._counting:
            self.asked = not self._closed
        if not self.asked:  # read from the socket too late: the handler from outside answers it
            os.kill(os.getpid(), number)
        elif self._hosts is None:
            self._asked(name_of(number))
        else:
            self._hosts.ask_all_to_stop(name_of(number))

    def _asked(self, reason: str) -> None:
        with self._counting:
            if not self._closed:
                name = f"{self._stage}: {reason}"
                say(f"{name}: saves after this step and exits within {GRACE_SECONDS} s.")
                self._patience = threading.Timer(GRACE_SECONDS, self._end)
                self._patience.daemon = True
                self._patience.start()
            # A host that has passed its last point takes part: the others wait for its answer.
            self._stop_at = agreed(self._points, max, "stop") + 1

    def _end(self) -> None:
        say(f"{self._stage}: could not save within {GRACE_SECONDS} s; {RESUMES}")
        os._exit(PREEMPTED_STATUS)

    def _second(self, number: int) -> None:
        say(f"{self._stage}: quits at once ({name_of(number)} again); {RESUMES}")
        os._exit(128 + number)
