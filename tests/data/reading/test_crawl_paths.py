import gzip
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.errors import DataError
from data.reading import crawl_paths
from data.reading.crawl_paths import fetch, read

NAME = "crawl-data/A-2026-11/segments/1/wet/A-00000.warc.wet.gz"
CONTENT = random.Random(0).randbytes(300_000)


class Server(ThreadingHTTPServer):
    """A web server of one file; each request takes the next of `behaviour`, then it works."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: list[str] = []
        self.ranges: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/base"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        how = self.server.behaviour.pop(0) if self.server.behaviour else "well"
        if how == "busy":
            return self.send_error(503)
        if self.path != f"/base/{NAME}":
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and how != "no ranges" else 0
        if start > len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if asked and how != "no ranges" else 200)
        if how != "no length":
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        rest = CONTENT[start:]
        self.wfile.write(rest[: len(rest) // 2] if how == "cut" else rest)

    def log_message(self, format, *args):  # noqa: A002
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(crawl_paths, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(crawl_paths, "LONGEST_WAIT_SECONDS", 0.001)


@pytest.mark.parametrize(
    "behaviour",
    [[], ["busy", "busy"], ["cut"], ["cut", "busy", "cut", "cut"], ["cut", "no ranges"],
     ["no length"]],
)  # fmt: skip
def test_a_file_comes_whole_whatever_the_server_does(server, tmp_path, behaviour):
    server.behaviour = list(behaviour)
    path = fetch(NAME, tmp_path, server.address)
    assert path == tmp_path / NAME
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == len([how for how in behaviour if how in ("busy", "cut")]) + 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_transfer_goes_on_where_it_broke(server, tmp_path):
    server.behaviour = ["cut", "cut"]
    fetch(NAME, tmp_path, server.address)
    assert server.ranges == [None, "bytes=131072-", "bytes=196608-"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    for _ in range(2):
        fetch(NAME, tmp_path, server.address)
    assert len(server.ranges) == 1


def test_a_file_that_never_comes_whole_is_an_error_and_goes_on_later(server, tmp_path):
    server.behaviour = ["cut"] + ["busy"] * 20
    with pytest.raises(DataError, match=r"A-00000.* could not be fetched \(status 503\)"):
        fetch(NAME, tmp_path, server.address)
    assert not (tmp_path / NAME).exists()
    server.behaviour = []
    assert fetch(NAME, tmp_path, server.address).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=131072-"


def test_a_part_that_does_not_fit_is_begun_again(server, tmp_path):
    part = tmp_path / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(CONTENT) + 7))
    assert fetch(NAME, tmp_path, server.address).read_bytes() == CONTENT


def test_an_absent_file_is_asked_for_once(server, tmp_path):
    with pytest.raises(DataError, match=r"other\.gz was asked for and the server answers 404"):
        fetch("other.gz", tmp_path, server.address)
    assert len(server.ranges) == 1


def test_two_processes_fetch_a_file_once(server, tmp_path):
    code = (
        "import pathlib, sys\n"
        "from data.reading.crawl_paths import fetch\n"
        "print(len(fetch(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]).read_bytes()))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, NAME, str(tmp_path), server.address],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["300000"] * 2
    assert len(server.ranges) == 1


@pytest.mark.parametrize("name", ["wet.paths", "wet.paths.gz"])
def test_lists(tmp_path, name):
    text = f"{NAME}\n\n a/b.warc.wet.gz \n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert read(tmp_path / name) == [NAME, "a/b.warc.wet.gz"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"/etc/passwd\n", "lists '/etc/passwd'"),
        (b"a/../../b\n", "lists 'a/../../b'"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_unusable_lists(tmp_path, content, says):
    (tmp_path / "wet.paths").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "wet.paths")
    (tmp_path / "wet.paths.gz").write_bytes(gzip.compress(b"a\n" * 99)[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "wet.paths.gz")
