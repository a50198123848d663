"""Signals that stop a command: Ctrl-C (SIGINT), a closed terminal (SIGHUP), and SIGTERM.

The first interrupts the command, which releases its lock and ends with one sentence; training saves
instead (`training/loop.py`). A second one ends the process at once, but not a SIGTERM within a
second of another: `timeout` sends it to the process and to its group. A thread reads the
signals from a wake-up socket, because a handler in Python waits for the main thread, which may be
compiling. A signal that the parent process ignores, as `nohup` does, stays ignored.

An import or a callback of a library may swallow the interruption, or turn it into an error of its
own. So a signal that came is also looked for after imports, before training and at every error.
"""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType

from pipeline.terminal import print_message

STOPPING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP", signal.SIGTERM: "SIGTERM"}
COPY_SECONDS = 1.0  # between a SIGTERM to a process and that to its group, at most
PATIENCE_SECONDS = 2.0  # until a command that cannot be interrupted says so

_came: list[int] = []  # numbers of the signals that stop this command
_waits_for_nobody = threading.Event()
_at_first: list[Callable[[], object]] = []
_at_second: list[Callable[[], object]] = []


class Stopped(KeyboardInterrupt):
    """A command that a signal interrupted; no library takes it for an error of its own."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {name_of(number)}")
        self.status = 128 + number  # as shells report it


class Signals:
    """Listens for the signals that stop a command; a context manager of the main thread.

    Args:
        first: called in a thread with the first signal.
        second: called in a thread with every later one.
        interrupt: called in the main thread with the first signal, as soon as Python can.
    """

    def __init__(
        self,
        first: Callable[[int], None],
        second: Callable[[int], None],
        interrupt: Callable[[int], None] = lambda _: None,
    ):
        self._first, self._second, self._interrupt = first, second, interrupt
        self._interrupted = False

    def __enter__(self) -> "Signals":
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        heard = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        self._former = {number: signal.signal(number, self._handle) for number in heard}
        self._former_wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        signal.set_wakeup_fd(self._former_wakeup)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._write.close()

    def _handle(self, number: int, _: object) -> None:
        if not self._interrupted:
            self._interrupted = True
            self._interrupt(number)

    def _watch(self) -> None:
        answer, terminated = self._first, -math.inf
        while byte := self._read.recv(1):
            number, now = byte[0], time.monotonic()
            is_copy = number == signal.SIGTERM and now - terminated < COPY_SECONDS
            if number == signal.SIGTERM:
                terminated = now
            if number in self._former and not is_copy:
                answer(number)
                answer = self._second
        self._read.close()


@contextmanager
def stoppable(stage: str) -> Iterator[None]:
    """Raises `Stopped` in the main thread at the first signal; quits at the second.

    Raises:
        Stopped: if a signal arrives; also instead of an error that follows it.
    """
    _came.clear()
    name = f"{stage}: stops as soon as it can; a second signal quits at once."
    waiting = threading.Timer(PATIENCE_SECONDS, say, [name])
    waiting.daemon = True

    def interrupt(number: int) -> None:
        _came.append(number)
        raise Stopped(number)

    def first(number: int) -> None:
        _came.append(number)
        for act in _at_first:
            act()
        waiting.start()

    with Signals(first, lambda number: quit_at_once(stage, number), interrupt):
        try:
            yield
        except Exception:
            check_no_signal()
            raise
        finally:
            waiting.cancel()


def at_first_signal(act: Callable[[], object]) -> AbstractContextManager[None]:
    """Calls a function in a thread as soon as the first signal arrives within the block."""
    return _within(_at_first, act)


def at_second_signal(act: Callable[[], object]) -> AbstractContextManager[None]:
    """Calls a function in a thread before a later signal within the block ends the process."""
    return _within(_at_second, act)


@contextmanager
def _within(acts: list[Callable[[], object]], act: Callable[[], object]) -> Iterator[None]:
    acts.append(act)
    try:
        yield
    finally:
        acts.remove(act)


def signals_came() -> bool:
    """Returns whether a signal has come that stops this command."""
    return bool(_came)


def check_no_signal() -> None:
    """Stops a command whose interruption a library may have swallowed.

    Raises:
        Stopped: if a signal has come.
    """
    if _came:
        raise Stopped(_came[0])


def quit_at_once(stage: str, number: int) -> None:
    """Ends the process; what is finished stays, and the lock is that of a process that ended."""
    for act in _at_second:
        act()
    say(f"{stage}: quits at once ({name_of(number)} again); the same command goes on.")
    os._exit(128 + number)


def leave_at_the_end() -> None:
    """Makes `end` leave: other hosts, for which libraries would wait at exit, will not come."""
    _waits_for_nobody.set()


def end(status: int) -> None:
    """Ends the process with an exit status."""
    if _waits_for_nobody.is_set():
        leave(status)
    sys.exit(status)


def leave(status: int) -> None:
    """Ends a process that was interrupted, without waiting for threads of libraries."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def say(message: str) -> None:
    """Prints a message; where the terminal is gone, all later output goes nowhere."""
    try:
        print_message(message)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)


def name_of(number: int) -> str:
    """Returns the name of a signal for its user."""
    return NAMES.get(signal.Signals(number), signal.Signals(number).name)
