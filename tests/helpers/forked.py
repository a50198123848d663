"""Processes of their own for commands that are killed, or that several hosts run at once.

They are forked from a server that has imported the commands, and JAX, which is not started there:
a start takes 0.1 CPU-seconds instead of 3.
"""

import multiprocessing
import os
import resource
import runpy
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
# One list for all files of a worker: its first process starts the server.
CONTEXT.set_forkserver_preload(["pipeline.corpus.clean", "pipeline.training.teacher"])


class Forked:
    """A Python program in a process of its own.

    Attributes:
        returncode: exit status; negative for a signal, None until `communicate` returns.
    """

    def __init__(self, process: BaseProcess, printed: Path):
        self._process, self._printed = process, printed
        self.returncode: int | None = None
        process.start()

    def communicate(self) -> tuple[None, str]:
        """Waits for the end; returns what the process printed to standard error."""
        self._process.join()
        self.returncode = self._process.exitcode
        printed = self._printed.read_text(encoding="utf-8", errors="replace")
        self._printed.unlink()
        return None, printed


def start(program: str, words: list[str], folder: Path = ROOT, **environment: str) -> Forked:
    """Starts a program, a file or the name of a module, with these arguments in a folder.

    As any child, it has this process's limit on the size of a file.
    """
    descriptor, printed = tempfile.mkstemp(prefix="mswitch-printed-")
    os.close(descriptor)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    given = program, words, folder, environment, printed, limit
    return Forked(CONTEXT.Process(target=_run, args=given), Path(printed))


def _run(
    program: str,
    words: list[str],
    folder: Path,
    environment: dict[str, str],
    printed: str,
    limit: tuple[int, int],
) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    os.chdir(folder)
    os.environ.update(environment)
    with open(printed, "w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = [program, *words]
    run = runpy.run_path if program.endswith(".py") else runpy.run_module
    run(program, run_name="__main__")
