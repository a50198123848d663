"""S3 with faults: a kill during an upload, occasional 503, 20 s without an answer, no access.

A proxy between the job and MinIO injects the faults; requests that it passes on are unchanged.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from faulty_proxy import Request, proxy

CLEAN = ("clean", "--rules=mswitch-web")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, minio, raw_on_s3, mswitch, digests) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "corpus"
    mswitch(*CLEAN, f"--input={raw_on_s3}", f"--out={out}", "--", *minio.options(), **minio.keys)
    return digests(out)


def corpus(minio, address: str, to: Path, digests) -> dict[str, str]:
    """Returns what readers use: everything at the address except the run's workspace."""
    if not minio.files.exists(address):
        return {}
    found = digests(minio.fetched(address, to))
    return {name: digest for name, digest in found.items() if not name.startswith("work/")}


def test_killed_in_an_upload_nothing_half_written_is_taken_for_whole(
    minio, raw_on_s3, start, mswitch, whole, digests, tmp_path
):
    out, draw, kills = f"{minio.bucket('killed')}/corpus", random.Random(3), 0
    command = (*CLEAN, f"--input={raw_on_s3}", f"--out={out}", "--")
    job, left = None, 0

    def kill_in_upload(request: Request) -> None:
        nonlocal left
        if request.command != "PUT" or "x-amz-copy-source" in request.headers or not request.body:
            return
        left -= 1
        if left == 0:
            os.kill(job.pid, signal.SIGKILL)
            request.send_half()

    with proxy(minio.address, kill_in_upload) as address:
        for number in range(5):
            left = draw.randrange(3, 14)
            job = start(*command, *minio.options(address), **minio.keys)
            job.communicate()
            kills += job.returncode == -signal.SIGKILL
            there = corpus(minio, out, tmp_path / str(number), digests)
            assert all(whole[name] == there[name] for name in there.keys() & whole.keys())
            others = {name for name in there.keys() - whole.keys() if not name.startswith("lock/")}
            assert others <= {"unfinished.json"}
    assert kills >= 3
    mswitch(*command, *minio.options(), **minio.keys)
    assert corpus(minio, out, tmp_path / "end", digests) == whole
    assert not minio.files.find(f"{out}/work")


def test_503_now_and_then_loses_nothing(minio, raw_on_s3, mswitch, whole, digests, tmp_path):
    out, draw = f"{minio.bucket('unsteady')}/corpus", random.Random(5)
    refused = []

    def trouble(request: Request) -> None:
        if draw.random() < 0.1:
            refused.append(request.command)
            request.refuse()

    with proxy(minio.address, trouble) as address:
        options = ("--", *minio.options(address))
        mswitch(*CLEAN, f"--input={raw_on_s3}", f"--out={out}", *options, **minio.keys)
    assert {"GET", "PUT", "HEAD"} <= set(refused)
    assert corpus(minio, out, tmp_path / "there", digests) == whole


def test_bytes_altered_on_the_way_are_refused_by_the_store_and_sent_again(
    minio, raw_on_s3, mswitch, whole, digests, tmp_path
):
    """The store's own checksum finds them, so nothing is read back."""
    out, draw = f"{minio.bucket('altered')}/corpus", random.Random(7)
    altered = []

    def alter(request: Request) -> None:
        if request.command == "PUT" and len(request.body) > 1000 and draw.random() < 0.2:
            middle = len(request.body) // 2
            altered.append(request.path)
            request.answered = True
            flipped = bytes([request.body[middle] ^ 1])
            request.forward(request.body[:middle] + flipped + request.body[middle + 1 :])

    with proxy(minio.address, alter) as address:
        mswitch(
            *CLEAN,
            f"--input={raw_on_s3}",
            f"--out={out}",
            "--",
            *minio.options(address),
            **minio.keys,
        )
    assert len(altered) > 5
    assert corpus(minio, out, tmp_path / "there", digests) == whole


def test_20_seconds_of_silence_lose_nothing(minio, raw_on_s3, start, whole, digests, tmp_path):
    out = f"{minio.bucket('silent')}/corpus"
    job = start(
        *CLEAN, f"--input={raw_on_s3}", f"--out={out}", "--", *minio.options(), **minio.keys
    )
    while not minio.files.find(f"{out}/work"):  # in the middle
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.1)
    os.kill(minio.pid, signal.SIGSTOP)
    try:
        time.sleep(20)
        assert job.poll() is None
    finally:
        os.kill(minio.pid, signal.SIGCONT)
    said = job.communicate()[1]
    assert job.returncode == 0, said
    assert corpus(minio, out, tmp_path / "there", digests) == whole


def sentence(done) -> str:
    """Returns the one sentence that a command ends with."""
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert lines[-1].startswith("mswitch: ")
    return lines[-1]


def test_no_access_is_one_sentence(minio, raw_on_s3, mswitch, tmp_path):
    bucket = minio.bucket("closed")
    asked = (*CLEAN, f"--input={raw_on_s3}", f"--out={bucket}/corpus", "--")
    wrong = minio.keys | {"AWS_SECRET_ACCESS_KEY": "another"}
    said = sentence(mswitch(*asked, *minio.options(), fails=True, **wrong))
    assert "check the address and the credentials" in said
    assert raw_on_s3 in said
    there = (*CLEAN, f"--input={raw_on_s3}", "--out=s3://no-such-bucket/corpus", "--")
    said = sentence(mswitch(*there, *minio.options(), fails=True, **minio.keys))
    assert "s3://no-such-bucket/corpus" in said
    assert "NoSuchBucket" in said or "bucket does not exist" in said
    nowhere = (*CLEAN, "--input=s3://no-such-bucket/*.warc.wet.gz", f"--out={bucket}/corpus", "--")
    assert "s3://no-such-bucket" in sentence(
        mswitch(*nowhere, *minio.options(), fails=True, **minio.keys)
    )
    assert not minio.files.find(bucket)


def test_a_store_that_stays_away_is_one_sentence_and_the_same_command_goes_on(
    minio, raw_on_s3, mswitch, whole, digests, tmp_path
):
    out, seen = f"{minio.bucket('away')}/corpus", []

    def trouble(request: Request) -> None:
        seen.append(request.command)
        if len(seen) > 60:
            request.refuse()

    with proxy(minio.address, trouble) as address:
        options = ("--", *minio.options(address))
        # The library below also retries; that is not needed here.
        asked = mswitch(*CLEAN, f"--input={raw_on_s3}", f"--out={out}", *options, fails=True,
                        AWS_MAX_ATTEMPTS="1", **minio.keys)  # fmt: skip
    assert "cannot be" in sentence(asked)
    assert "resumes where the job stopped" in sentence(asked)
    mswitch(*CLEAN, f"--input={raw_on_s3}", f"--out={out}", "--", *minio.options(), **minio.keys)
    assert corpus(minio, out, tmp_path / "there", digests) == whole
