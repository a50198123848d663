"""A process that holds the lock on a directory: DIRECTORY [MACHINE].

It prints a line when it holds the lock. Whenever a line arrives it prints whether it still
holds the lock, and it ends with its standard input. With MACHINE it
runs, by its own account, on another machine, and renews its lock more often than tests wait.
"""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError
from data.files import locks


@contextmanager
def held_elsewhere(directory: object, *machine: str):
    """Runs such a process; yields it once it holds the lock."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(directory), *machine],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate()  # its standard input ends


def main(directory: str, machine: str = "") -> None:
    if machine:
        locks.machine = lambda: machine
        locks.RENEWAL_SECONDS = 0.05
    with locks.locked(directory, "pretrain", lambda _: None):
        print("held", flush=True)
        for _ in sys.stdin:
            try:
                locks.check_held(directory)
                print("still held", flush=True)
            except DataError as error:
                print(error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
