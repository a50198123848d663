"""S3 with faults: a kill during an upload, occasional 503, 20 s without an answer, no access.

A proxy between the job and MinIO injects the faults; requests that it passes on are unchanged.
"""

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CLEAN = ("clean", "--rules=mswitch-web")
Trouble = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """Handles one request: `trouble` may answer it, or leave it to the store."""

    protocol_version = "HTTP/1.1"
    store, trouble = "", staticmethod(lambda request: None)

    def serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answered = False
        type(self).trouble(self)
        if not self.answered:
            self.forward(self.body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    def forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.store, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    def refuse(self) -> None:
        self.answered = True
        body = b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def proxy(store: str, trouble: Trouble) -> Iterator[str]:
    handler = type("Troubled", (Request,), {"store": store.removeprefix("http://")})
    handler.trouble = staticmethod(trouble)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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
            half = http.client.HTTPConnection(request.store, timeout=60)
            half.putrequest("PUT", request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                half.putheader(name, value)
            half.endheaders(request.body[: len(request.body) // 2])
            os.kill(job.pid, signal.SIGKILL)
            half.close()  # the request announced a whole body
            request.answered = request.close_connection = True

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
