"""The identity of a process: host, number and start, which no later process shares.

Numbers of processes are reused. So the start is part of the identity, in clock ticks since the
machine started: the wall clock may jump, and psutil's start times follow it. Numbers are unique
within one process namespace of one start of one machine (`machine`), and containers of one machine
may share a host name.
"""

import os
import socket
from pathlib import Path
from typing import NamedTuple

ENDED_STATES = "ZXx"  # a zombie has ended, although its number is not free yet


class ProcessIdentity(NamedTuple):
    """A process of this machine or of another.

    Attributes:
        host: name of the host, for people.
        machine: start of the machine and process namespace; "" if unknown.
        number: number of the process.
        started: clock ticks from the machine's start to the start of the process.
    """

    host: str
    machine: str
    number: int
    started: int


def this_process() -> ProcessIdentity:
    """Returns the identity of this process."""
    _, started = _state_and_start(os.getpid()) or ("", 0)
    return ProcessIdentity(socket.gethostname(), machine(), os.getpid(), started)


def machine() -> str:
    """Returns the start of this machine and this process's namespace; "" where Linux is absent."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def has_ended(process: ProcessIdentity) -> bool | None:
    """Returns whether a process has ended; None if it runs where this process cannot look."""
    if not process.machine or process.machine != machine():
        return None
    now = _state_and_start(process.number)
    return now is None or now[0] in ENDED_STATES or now[1] != process.started


def _state_and_start(number: int) -> tuple[str, int] | None:
    """Returns a process's state and start; None if there is no such process. See proc(5)."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], int(fields[19])
