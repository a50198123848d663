"""One start of a command, and the judgement of its end: done, one sentence, killed, or wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LAUNCHER = str(Path(__file__).with_name("launcher.py"))
LONGEST_SECONDS = 1800.0  # a command that takes longer hangs
DONE, SENTENCE, KILLED = "done", "one sentence", "killed"


class Attempt(NamedTuple):
    """The end of one start.

    Attributes:
        outcome: DONE, SENTENCE, KILLED, or what was wrong.
        seconds: wall-clock seconds that it took.
    """

    outcome: str
    seconds: float


def start(command: list[str], **faults: str) -> subprocess.Popen[str]:
    """Starts a command with faults that launcher.py defines, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, LAUNCHER, *command],
        cwd=ROOT, env=os.environ | faults, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def run(command: list[str], kill_after: float | None = None, **faults: str) -> Attempt:
    """Runs a command to its end, or kills it with all its processes after some seconds."""
    return end(start(command, **faults), kill_after)


def wait_for_lock(process: subprocess.Popen[str], out: Path, before: set[str]) -> float:
    """Waits until a command works on a directory; returns the seconds, or those until its end.

    Args:
        process: the command.
        out: its directory.
        before: names in the lock's folder before the start.
    """
    started = time.monotonic()
    while process.poll() is None and not locks(out) - before:
        time.sleep(0.01)
    return time.monotonic() - started


def locks(out: Path) -> set[str]:
    """Returns the names in the lock's folder of a directory."""
    try:
        return set(os.listdir(out / "lock"))
    except OSError:
        return set()


def end(process: subprocess.Popen[str], kill_after: float | None = None) -> Attempt:
    """Waits for a command's end, or kills it."""
    started = time.monotonic()
    try:
        _, said = process.communicate(timeout=kill_after or LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        outcome = KILLED if kill_after else f"WRONG: hung for {LONGEST_SECONDS:.0f} s"
        return Attempt(outcome, time.monotonic() - started)
    return Attempt(judge(process.returncode, said), time.monotonic() - started)


def judge(status: int, said: str) -> str:
    """Returns what an end is: status 0, or status 2 with one sentence and no traceback."""
    if status == 0:
        return DONE
    last = said.strip().splitlines()[-1] if said.strip() else ""
    if status == 2 and "Traceback" not in said and "mswitch: " in said:
        return SENTENCE
    return f"WRONG: status {status}, {last[:200]}"
