"""A Flink cluster of this machine: a JobManager, two TaskManagers, and Beam's job server.

Each is a process of its own with the program that Flink's scripts start, and Flink's ports are on
loopback. Beam's Java servers (the job server's, and a TaskManager's for its workers) listen on all
interfaces: 2.70.0 has no option for it (`ServerFactory.createServer`).
"""

import contextlib
import functools
import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CONFIGURATION = ("--configDir", Path(__file__).parent)
# As config.yaml: the heap, and what is off the heap and not managed.
TASK_MANAGER = ("-Xms512m", "-Xmx512m", "-XX:MaxDirectMemorySize=192m", "-XX:MaxMetaspaceSize=256m")
HEAP = ("-Xmx512m",)
PATIENCE_SECONDS = 600.0


class Cluster:
    """A running cluster.

    Attributes:
        job_server: address of Beam's job server.
    """

    def __init__(self, rest: int, job_server: int, started: Callable[[], subprocess.Popen]):
        self.job_server = f"localhost:{job_server}"
        self._rest, self._started = f"http://127.0.0.1:{rest}", started
        self._task_managers: list[subprocess.Popen] = []

    def start_task_manager(self) -> None:
        self._task_managers.append(self._started())
        self._wait_until_seen()

    def kill_task_manager(self) -> None:
        """Ends a TaskManager without warning, and waits until its JobManager has noticed."""
        self._task_managers.pop(0).send_signal(signal.SIGKILL)
        self._wait_until_seen()

    def _wait_until_seen(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._task_managers_seen() != len(self._task_managers):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _task_managers_seen(self) -> int:
        with urllib.request.urlopen(f"{self._rest}/overview") as answer:
            return json.load(answer)["taskmanagers"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory, java, free_port) -> Iterator[Cluster]:
    """Yields a cluster of two TaskManagers."""
    rest, rpc, job_server = free_port(), free_port(), free_port()
    runs = functools.partial(java, "flink")
    with contextlib.ExitStack() as running:

        def started(port: int, main: str, *arguments: object, heap=HEAP) -> subprocess.Popen:
            folder = tmp_path_factory.mktemp("flink")
            options = (*heap, f"-Djava.io.tmpdir={folder}")
            return running.enter_context(runs(port, main, *arguments, options=options, cwd=folder))

        def flinks(port: int, main: str, *arguments: object, heap=HEAP) -> subprocess.Popen:
            ports = (f"rest.port={rest}", f"jobmanager.rpc.port={rpc}")
            dynamic = [part for one in (*ports, *arguments) for part in ("-D", one)]
            named = f"org.apache.flink.runtime.{main}"
            return started(port, named, *CONFIGURATION, *dynamic, heap=heap)

        def task_manager() -> subprocess.Popen:
            port = free_port()
            more = f"taskmanager.rpc.port={port}"
            return flinks(port, "taskexecutor.TaskManagerRunner", more, heap=TASK_MANAGER)

        flinks(rest, "entrypoint.StandaloneSessionClusterEntrypoint")
        cluster = Cluster(rest, job_server, task_manager)
        cluster.start_task_manager()
        cluster.start_task_manager()
        started(
            job_server, "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=localhost:{rest}", "--job-host=localhost",
            f"--job-port={job_server}", "--artifact-port=0", "--expansion-port=0",
            "--artifacts-dir=artifacts",
        )  # fmt: skip
        yield cluster
