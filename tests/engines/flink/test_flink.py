"""`clean` and `tokenize` on a Flink cluster, with workers that hold only the wheel.

Each TaskManager has a heap of 512 MB, and one is killed in the middle of a job.
"""

import time

import pytest

RULES = "mswitch-web"
# In streaming mode RocksDB holds the groups, and small bundles bound what is in flight.
BOUNDED = ("--streaming", "--max_bundle_size=2")


@pytest.fixture(scope="module")
def on_flink(documented, flink, worker_pool) -> list[str]:
    """The documented options, with workers that are kept as long as the cluster.

    Both TaskManagers share the pool of this machine, and each counts its workers from 1: one that
    ends a worker after the documented minute would end the other's of that number.
    """
    here = {"job_endpoint": flink.job_server, "environment_config": worker_pool}
    return documented("localhost:8099", **here, environment_cache_millis="3600000")


@pytest.mark.slow
def test_flink_writes_the_same_bytes(written_by_one, written, on_flink):
    """In streaming mode; the test of a killed TaskManager compares a job in batch mode."""
    assert written("flink", [*on_flink, *BOUNDED]) == written_by_one


def test_a_killed_task_manager_is_one_sentence_and_the_same_command_goes_on(
    flink, on_flink, home, start, mswitch, cleaned_by_one, digests
):
    clean = ("clean", "--input=raw/*.warc.wet.gz", f"--rules={RULES}", "--out=killed")
    command = (*clean, "--", *on_flink)
    job = start(*command, cwd=home)
    while not list(home.glob("killed/work/*/*/*.json")):
        assert job.poll() is None
        time.sleep(0.05)
    flink.kill_task_manager()
    _, printed = job.communicate()
    assert job.returncode == 2, printed
    assert printed.splitlines()[-1].startswith("mswitch: The engine ended the job in state FAILED")
    assert printed.endswith("(The same command resumes where the job stopped.)\n")
    assert "Traceback" not in printed
    flink.start_task_manager()
    mswitch(*command, cwd=home)
    assert digests(home / "killed") == cleaned_by_one


@pytest.mark.slow
def test_an_exchange_larger_than_the_heaps_survives_a_kill(
    flink, on_flink, clean_short_pages, short_pages_by_one, digests, tmp_path
):
    """RocksDB keeps it on disk; a TaskManager is killed when most addresses were sent."""
    out, options = tmp_path / "corpus", [*on_flink, *BOUNDED]
    job = clean_short_pages(out, options)
    while len(list(out.glob("work/*/read/*.json"))) < 60:  # of 80 files
        assert job.poll() is None
        time.sleep(1)
    flink.kill_task_manager()
    assert job.wait() == 2
    flink.start_task_manager()
    assert clean_short_pages(out, options).wait() == 0
    assert digests(out) == short_pages_by_one
