"""Runs commands side by side, each pinned to one core.

Two pinned one-core processes were measured to train 15 to 20 % faster than one process on two
cores: at these sizes XLA's threads wait for each other. One thread also makes a run reproducible
bit for bit on another machine of the same kind, whatever its number of cores.
"""

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Task(NamedTuple):
    """One `mswitch` command and where its output goes.

    Attributes:
        log: file to which output is added.
        command: what follows `mswitch`.
        python: whose installation of mswitch it is.
    """

    log: Path
    command: Sequence[str]
    python: str = sys.executable


def cores() -> list[int]:
    """Returns the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def run_chains(
    chains: Iterable[Sequence[Task]], ended: Callable[[Task], None] = lambda task: None
) -> None:
    """Runs one chain per core at a time, its tasks in order.

    After a failure, which is printed at once, tasks that run go on to their end and none begins.

    Args:
        chains: the tasks.
        ended: is called with each task that has ended well.

    Raises:
        SystemExit: if a task failed.
    """
    free: SimpleQueue[int] = SimpleQueue()
    failed = threading.Event()
    for core in cores():
        free.put(core)

    def run_chain(chain: Sequence[Task]) -> None:
        core = free.get()
        try:
            for task in chain:
                if not failed.is_set():
                    run(task, core)
                    ended(task)
        except BaseException as failure:
            failed.set()
            print(f"{failure}\nWhat else runs is waited for.", file=sys.stderr, flush=True)
            raise
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(cores())) as pool:
        for done in as_completed([pool.submit(run_chain, chain) for chain in chains]):
            done.result()


def run(task: Task, core: int | None = None) -> None:
    """Runs one task, on one core and with one thread if a core is named.

    Raises:
        SystemExit: if the task failed; its log has the cause, and the same command resumes there.
    """
    environment = dict(os.environ)
    if core is not None:
        environment["XLA_FLAGS"] = f"{ONE_THREAD} {os.environ.get('XLA_FLAGS', '')}"
        environment["JAX_PLATFORMS"] = "cpu"
    print(f"$ mswitch {shlex.join(task.command)}", flush=True)
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("a") as log:
        status = subprocess.run(
            [task.python, "-P", "-m", "pipeline.cli", *task.command],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            check=False,
        ).returncode
    if status:
        raise SystemExit(f"`mswitch {task.command[0]}` failed ({status}); {task.log} says why.")


def stage(out: Path, *command: str, python: str = sys.executable) -> None:
    """Runs one command."""
    run(Task(out / "logs" / f"{command[0]}.log", command, python))


def pretrain(out: Path, name: str, recipe: str, *settings: str) -> Task:
    """Returns one run."""
    command = (
        "pretrain",
        f"--recipe={recipe}",
        f"--tokens={out}/tokens",
        f"--out={out}/{name}",
        *settings,
    )
    return Task(out / "logs" / f"{name}.log", command)


def report(
    out: Path, name: str, baseline: Sequence[str], candidate: Sequence[str], *more: str
) -> None:
    """Writes one report, unless it is written: its runs may have been scored on sentences since.

    Args:
        out: directory of the runs and of the report.
        name: name of the report.
        baseline: runs of the dense side.
        candidate: runs of the sparse side.
        more: further options.
    """
    if (out / name / "manifest.json").exists():
        return
    sides = (
        *("--baseline", *(f"{out}/{run}" for run in baseline)),
        *("--candidate", *(f"{out}/{run}" for run in candidate)),
    )
    read = f"--corpus={out}/corpus", f"--tokens={out}/tokens"
    stage(out, "report", *sides, *more, *read, f"--out={out}/{name}")
