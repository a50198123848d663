import io
import random
import subprocess
import sys
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from data.errors import DataError
from data.reading import crawl
from data.reading.crawl import LARGEST_BYTES, fetch, place_in, unfinished_in
from data.reading.one_server import OneServer

NAME = "crawl-data/A-2026-11/segments/1/wet/A-00000.warc.wet.gz"
CONTENT = random.Random(0).randbytes(300_000)


class Server(ThreadingHTTPServer):
    """A web server of one file; each request takes the next of `behaviour`, then it works."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: list[str] = []
        self.ranges: list[str | None] = []
        self.content, self.headers = CONTENT, {"ETag": '"1"'}
        self.base = f"http://127.0.0.1:{self.server_port}/base"
        self.address = f"{self.base}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        how = self.server.behaviour.pop(0) if self.server.behaviour else "well"
        if how.startswith("busy "):
            return self.send_error(int(how.removeprefix("busy ")))
        if how.startswith("redirect "):
            return self.redirect(how.removeprefix("redirect "))
        if self.path not in (f"/base/{NAME}", "/moved"):
            return self.send_error(404)
        content = self.server.content
        if self.headers.get("If-Range") not in (None, *self.server.headers.values()):
            asked = None
        start = int(asked[6:-1]) if asked and how not in ("no ranges", "another range") else 0
        if start > len(content):
            return self.send_error(416)
        self.send_response(206 if asked and how != "no ranges" else 200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if how == "too large":
            self.send_header("Content-Length", str(LARGEST_BYTES + 1))
        elif how.endswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        elif how.startswith("length "):
            self.send_header("Content-Length", how.removeprefix("length "))
        elif how != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        if how == "encoded":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        rest = content[start:]
        if how.endswith("chunked"):
            rest = b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)
        self.wfile.write(rest[: len(rest) // 2] if how in ("cut", "cut chunked") else rest)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

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
    monkeypatch.setattr(crawl, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(crawl, "LONGEST_WAIT_SECONDS", 0.001)


@pytest.mark.parametrize(
    "behaviour",
    [[], ["busy 503", "busy 408"], ["cut"], ["busy 403", "cut", "busy 429", "cut"],
     ["cut", "no ranges"], ["cut", "another range"], ["cut chunked"], ["chunked"], ["encoded"],
     ["redirect /moved"]],
)  # fmt: skip
def test_a_file_comes_whole_whatever_the_server_does(server, tmp_path, behaviour):
    server.behaviour = list(behaviour)
    path = fetch(server.address, tmp_path)
    assert path == place_in(tmp_path, server.address)
    assert path.read_bytes() == CONTENT
    again = [how for how in behaviour if how.startswith(("busy", "cut", "redirect"))]
    assert len(server.ranges) == len(again) + 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_transfer_goes_on_where_it_broke(server, tmp_path):
    server.behaviour = ["cut", "cut"]
    fetch(server.address, tmp_path)
    assert server.ranges == [None, "bytes=150000-", "bytes=225000-"]


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path, name):
    server.headers, server.behaviour = {name: '"1"'}, ["cut"] + ["busy 503"] * 20
    with pytest.raises(DataError, match="could not be fetched"):
        fetch(server.address, tmp_path)
    server.content, server.headers, server.behaviour = CONTENT[::-1], {name: '"2"'}, ["cut"]
    path = fetch(server.address, tmp_path)
    assert path.read_bytes() == CONTENT[::-1]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_a_file_without_a_version_is_begun_again(server, tmp_path, headers):
    server.headers, server.behaviour = headers, ["cut"]
    assert fetch(server.address, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    for _ in range(2):
        fetch(server.address, tmp_path)
    assert len(server.ranges) == 1


def test_a_file_that_never_comes_whole_is_an_error_and_goes_on_later(server, tmp_path, caplog):
    server.behaviour = ["cut"] + ["busy 503"] * 20
    with pytest.raises(DataError, match=r"A-00000.* could not be fetched \(status 503\)"):
        fetch(server.address, tmp_path)
    (warning,) = (one.message for one in caplog.records if one.name == crawl.__name__)
    assert "IncompleteRead(150000 bytes read, 150000 more expected)" in warning
    assert "; 9 more attempts follow" in warning
    assert not place_in(tmp_path, server.address).exists()
    server.behaviour = []
    assert fetch(server.address, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=150000-"


def test_a_part_that_does_not_fit_is_begun_again(server, tmp_path):
    part = unfinished_in(tmp_path, server.address)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(CONTENT) + 7))
    assert fetch(server.address, tmp_path).read_bytes() == CONTENT


def test_an_absent_file_is_asked_for_once(server, tmp_path):
    with pytest.raises(
        DataError, match=r"other\.gz was asked for and the server answers with status 404"
    ):
        fetch(f"{server.base}/other.gz", tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("redirect http://localhost:1/elsewhere", "redirects to another, 'localhost:1'"),
        ("redirect //localhost:1/elsewhere", "redirects to another, 'localhost:1'"),
        ("redirect ftp://127.0.0.1/elsewhere", "redirects to another"),
        ("too large", "more than 8,589,934,592 bytes were announced"),
        ("no length", "a file that was cut short could not be told"),
    ],
)
def test_what_a_server_must_not_do_is_refused_at_once(server, tmp_path, how, message):
    server.behaviour = [how]
    with pytest.raises(DataError, match=message):
        fetch(server.address, tmp_path)
    assert len(server.ranges) == 1
    assert not place_in(tmp_path, server.address).exists()


def test_a_body_without_end_is_refused_at_the_largest_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr(crawl, "LARGEST_BYTES", 100_000)
    server.behaviour = ["chunked"]
    with pytest.raises(DataError, match="more than 100,000 bytes"):
        fetch(server.address, tmp_path)
    assert unfinished_in(tmp_path, server.address).stat().st_size <= 100_000


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "x"])
def test_a_length_that_is_none_is_one_sentence(server, tmp_path, length):
    server.behaviour = [f"length {length}"]
    with pytest.raises(DataError, match=r"could not be (told|fetched)"):
        fetch(server.address, tmp_path)


def test_servers_have_folders_of_their_own(tmp_path):
    addresses = ("http://a/x.gz", "https://a/x.gz", "https://a:81/x.gz", "https://b/x.gz")
    assert len({place_in(tmp_path, one) for one in addresses}) == len(addresses)
    with pytest.raises(DataError, match="leads out of its server"):
        place_in(tmp_path, "https://../x.gz")
    with pytest.raises(DataError, match="leads out of its server"):
        place_in(tmp_path, "https:///x.gz")


@pytest.mark.parametrize(
    ("here", "there", "follows"),
    [("http", "https", True), ("https", "https", True), ("https", "http", False)],
)
def test_an_encrypted_transfer_stays_encrypted(here, there, follows):
    moved = requests.Response()
    moved.raw = io.BytesIO()
    moved.status_code, moved.url = 301, f"{here}://a.example/x.gz"
    moved.headers["Location"] = f"{there}://a.example/y.gz"
    with nullcontext() if follows else pytest.raises(DataError, match="redirects to another"):
        assert OneServer().get_redirect_target(moved) == f"{there}://a.example/y.gz"


@pytest.mark.parametrize("there", ["a.gz", "a.gz/b.gz"])
def test_a_file_and_a_folder_of_one_name_in_a_cache_are_one_sentence(server, tmp_path, there):
    """As an earlier list of the same server may have left them."""
    addresses = {f"{server.base}/{name}" for name in ("a.gz", "a.gz/b.gz")}
    path = place_in(tmp_path, f"{server.base}/{there}")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (other,) = addresses - {f"{server.base}/{there}"}
    with pytest.raises(DataError, match="a file and a folder have one name"):
        fetch(other, tmp_path)
    assert not server.ranges


def test_no_name_of_a_list_is_that_of_an_unfinished_file(server, tmp_path):
    for suffix in (".version", ".part"):
        place_in(tmp_path, f"{server.address}{suffix}/b.gz").parent.mkdir(parents=True)
    server.behaviour = ["cut"]
    assert fetch(server.address, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=150000-"


def test_two_processes_fetch_a_file_once(server, tmp_path):
    code = (
        "import pathlib, sys\n"
        "from data.reading.crawl import fetch\n"
        "print(len(fetch(sys.argv[1], pathlib.Path(sys.argv[2])).read_bytes()))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.address, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["300000"] * 2
    assert len(server.ranges) == 1
