"""A program that may crash or hang, run in a process of its own."""

import signal
import subprocess
import sys
from typing import NamedTuple


class Tried(NamedTuple):
    """How a program ended.

    Attributes:
        printed: what it printed.
        failure: why it failed, in words; "" if it did not.
    """

    printed: str
    failure: str


def tried_alone(program: str, seconds: float) -> Tried | None:
    """Runs a Python program; None if it does not end within a number of seconds."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None
    return Tried(done.stdout, _failure(done.returncode, done.stderr))


def _failure(status: int, errors: str) -> str:
    """Returns the signal that ended a process, or the last line of its errors."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    last = (errors.strip().splitlines() or [f"exit status {status}"])[-1]
    return last if status else ""
