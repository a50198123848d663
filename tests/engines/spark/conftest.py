"""Spark on this machine: Beam's job server with two local executor threads in a heap of 512 MB.

Spark's ports are on loopback; Beam's job server listens on all interfaces, as `../flink` has it.
"""

from collections.abc import Iterator

import pytest

SPARK = {
    # More partitions than cores: only those in work are in memory.
    "default.parallelism": 32,
    "driver.bindAddress": "127.0.0.1",
    "driver.host": "127.0.0.1",
    "ui.enabled": "false",
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory, java, free_port) -> Iterator[str]:
    """Yields the address of the job server."""
    port, folder = free_port(), tmp_path_factory.mktemp("spark")
    settings = [f"-Dspark.{name}={value}" for name, value in SPARK.items()]
    folders = [f"-Djava.io.tmpdir={folder}", f"-Dspark.local.dir={folder}"]
    with java(
        "spark", port, "org.apache.beam.runners.spark.SparkJobServerDriver",
        "--spark-master-url=local[2]", "--job-host=localhost", f"--job-port={port}",
        "--artifact-port=0", "--expansion-port=0", "--artifacts-dir=artifacts",
        options=["-Xmx512m", *settings, *folders], cwd=folder,
    ):  # fmt: skip
        yield f"localhost:{port}"
