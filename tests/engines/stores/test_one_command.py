"""The lock on a directory of MinIO: S3's conditional writes admit one command at a time."""

import itertools
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.files import atomic, stores
from data.files.locks import FOLDER, Holder, ProcessIdentity, entry_path

number = itertools.count()


@pytest.fixture
def bucket(minio, monkeypatch) -> str:
    options = {"key": minio.files.key, "secret": minio.files.secret, "endpoint_url": minio.address}
    monkeypatch.setattr(stores, "_options", {"s3": options})
    return minio.bucket(f"one-command-{next(number)}")


def test_of_many_that_create_one_entry_one_succeeds(bucket):
    for entry in range(5):
        path = entry_path(f"{bucket}/many", entry)
        with ThreadPoolExecutor(8) as threads:
            created = list(threads.map(lambda at: atomic.create(path, b"%d" % at), range(8)))  # noqa: B023
        assert created.count(True) == 1
        assert int(stores.open_store(path)[0].cat_file(path)) == created.index(True)


def test_a_second_command_is_refused_and_the_next_one_finds_no_lock(
    minio, bucket, archives, mswitch, start
):
    out = f"{bucket}/corpus"
    command = ["clean", f"--input={archives}", "--rules=demo", f"--out={out}", "--"]
    command += [*minio.options(), "--direct_running_mode=in_memory"]
    first = start(*command, **minio.keys)
    while first.poll() is None and not minio.files.exists(f"{out}/{FOLDER}"):
        minio.files.invalidate_cache()
    refused = mswitch(*command, fails=True, **minio.keys)
    who = f"is in use by clean, process {first.pid} on {socket.gethostname()}"
    assert who in refused.stderr
    _, said = first.communicate()
    assert first.returncode == 0, said
    assert not minio.files.exists(f"{out}/{FOLDER}")
    assert json.loads(minio.files.cat_file(f"{out}/manifest.json"))["stage"] == "clean"


def test_a_job_that_lost_its_lock_writes_no_manifest(minio, bucket, archives, start):
    out = f"{bucket}/lost"
    command = ["clean", f"--input={archives}", "--rules=demo", f"--out={out}", "--"]
    first = start(*command, *minio.options(), **minio.keys)
    while first.poll() is None and not minio.files.exists(f"{out}/unfinished.json"):
        minio.files.invalidate_cache()
    other = Holder("clean", ProcessIdentity("far", "another machine", 7, 7), "other")
    minio.files.pipe_file(entry_path(out, 2), json.dumps(other).encode(), mode="create")
    _, said = first.communicate()
    assert first.returncode == 2
    assert "has passed to clean, process 7 on far" in said
    assert "Traceback" not in said
    assert not minio.files.exists(f"{out}/manifest.json")
