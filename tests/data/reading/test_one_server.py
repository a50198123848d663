"""Answers that redirect, never end, or are not answers; bytes are counted."""

import gzip
import io
import itertools
import shutil
from collections import namedtuple

import pytest
from raw_server import RawServer

from data.errors import DataError
from data.reading import crawl, one_server
from data.reading.crawl import fetch, unfinished_in
from data.reading.one_server import LINE_BYTES, PART_BYTES, Arriving, IncompleteTransfer

MIB = 1 << 20
LONG = 64 * MIB  # what would be read
BUFFERS = 16 * MIB  # of a connection, at most
PIECE = b"x" * PART_BYTES
CONTENT = gzip.compress(b"A page.")
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(crawl, "ATTEMPTS", 2)
    monkeypatch.setattr(crawl, "FIRST_WAIT_SECONDS", 0.001)


def redirect(headers: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: /b.gz\r\n%b\r\n\r\n" % headers


def repeated(head: bytes, piece: bytes, end: bytes = b"", size: int = LONG):
    """Returns a function of the pieces of an answer that goes on for this many bytes."""
    return lambda: itertools.chain([head], itertools.repeat(piece, size // len(piece)), [end])


@pytest.mark.parametrize(
    "answer",
    [
        repeated(redirect(b"Content-Length: %d" % LONG), PIECE),
        repeated(redirect(b"Transfer-Encoding: chunked"), b"10000\r\n%b\r\n" % PIECE, b"0\r\n\r\n"),
        redirect(b"Content-Encoding: gzip\r\nConnection: close") + gzip.compress(bytes(2 * LONG)),
        repeated(b"HTTP/1.1 500 Busy\r\nContent-Length: %d\r\n\r\n" % LONG, PIECE),
    ],
    ids=["long", "chunked", "bomb", "error"],
)
def test_the_body_of_a_redirect_or_error_is_not_read(tmp_path, monkeypatch, answer):
    read = count_read(monkeypatch)
    with RawServer(answer, WHOLE) as server:
        path = fetch(f"{server.base}/a.gz", tmp_path)
    assert path.read_bytes() == CONTENT
    assert sum(read) <= LINE_BYTES
    assert server.sent[0] <= BUFFERS


def count_read(monkeypatch) -> list[int]:
    """Returns a list that gets the size of all that is read of connections."""
    read, readinto = [], Arriving.readinto
    monkeypatch.setattr(
        Arriving, "readinto", lambda self, buffer: read.append(readinto(self, buffer)) or read[-1]
    )
    return read


ENDLESS = {
    "100 Continue": repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE),
    "headers of 100": repeated(b"", b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", WHOLE),
    "trailers": repeated(CHUNKED + b"1\r\nx\r\n0\r\n", b"Trailer: of this file\r\n", b"\r\n"),
    "a trailer": repeated(CHUNKED + b"1\r\nx\r\n0\r\n", PIECE, b"\r\n\r\n"),
    "extensions": repeated(CHUNKED, b"1;%b\r\nx\r\n" % PIECE[:60_000], b"0\r\n\r\n"),
    "negative chunk": repeated(CHUNKED + b"-1\r\n", PIECE),
    "size of a chunk": repeated(CHUNKED, b"0" * PART_BYTES, b"0\r\n\r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_is_not_content_breaks_the_transfer_at_its_bound(tmp_path, monkeypatch, answer):
    read = count_read(monkeypatch)
    with RawServer(answer) as server, pytest.raises(DataError, match="could not be fetched"):
        fetch(f"{server.base}/a.gz", tmp_path)
    assert len(server.asked) == crawl.ATTEMPTS
    assert sum(read) <= crawl.ATTEMPTS * 4 * LINE_BYTES


def test_chunks_of_one_byte_are_content(tmp_path):
    content = CONTENT * 900
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content)
    with RawServer(CHUNKED + chunks + b"0\r\nDigest: none\r\n\r\n") as server:
        assert fetch(f"{server.base}/a.gz", tmp_path).read_bytes() == content


class Slow(io.RawIOBase):
    """A connection of which some bytes come each time, and then its end."""

    def __init__(self, *counts: int):
        self.counts = list(counts)

    def readinto(self, buffer):
        return self.counts.pop(0) if self.counts else 0


def read_all(arriving: Arriving) -> int:
    return sum(iter(lambda: arriving.readinto(bytearray(PART_BYTES)), 0))


@pytest.mark.parametrize(
    ("counts", "seconds", "read"),
    [
        ([2] * 200, 0.5, None),  # 4 bytes per second, as each is there at once
        ([PART_BYTES // 3] * 9, 31.0, None),
        ([PART_BYTES // 2] * 9, 35.0, 9 * (PART_BYTES // 2)),
        ([PART_BYTES] * 9, 59.0, 9 * PART_BYTES),
        ([2] * 50, 1.0, 100),  # a small file has ended before
        ([7], 1e9, 7),
    ],
)
def test_a_part_must_come_within_a_minute(monkeypatch, counts, seconds, read):
    clock = itertools.count(0.0, seconds)
    monkeypatch.setattr(one_server, "monotonic", lambda: next(clock))
    if read is None:
        with pytest.raises(IncompleteTransfer, match=r"only [\d,]+ bytes came in \d+ s"):
            read_all(Arriving(Slow(*counts)))
    else:
        assert read_all(Arriving(Slow(*counts))) == read


def test_a_server_that_sends_now_and_then_is_a_failed_attempt(tmp_path, monkeypatch):
    clock = itertools.count(0.0, 61.0)
    monkeypatch.setattr(one_server, "monotonic", lambda: next(clock))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
    answer = repeated(head, b"xx", size=10_000)  # more than is read at once, less than a part
    with RawServer(answer) as server, pytest.raises(DataError, match=r"only [\d,]+ bytes came"):
        fetch(f"{server.base}/a.gz", tmp_path)
    assert len(server.asked) == crawl.ATTEMPTS


@pytest.mark.parametrize(
    "location",
    [b"/\xff.gz", b"http://[::1", b"//[", b"http://127.0.0.1:port/", b"http://a\xe2\x84\x80b/"],
)
def test_what_is_no_address_is_one_sentence(tmp_path, location):
    answer = b"HTTP/1.1 301 Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
    with RawServer(answer) as server, pytest.raises(DataError, match="redirects to"):
        fetch(f"{server.base}/a.gz", tmp_path)
    assert len(server.asked) == 1


Usage = namedtuple("Usage", "free")


@pytest.mark.parametrize("head", [WHOLE[: -len(CONTENT)], CHUNKED], ids=["announced", "chunked"])
def test_a_server_cannot_fill_the_disk(tmp_path, monkeypatch, head):
    """Whatever is announced or sent, as many bytes stay free as other programs may need."""
    size, free = 9 * MIB, crawl.LEAST_FREE_BYTES + 3 * MIB
    head = head.replace(b"%d" % len(CONTENT), b"%d" % size)
    chunk = b"10000\r\n%b\r\n" % PIECE if head is CHUNKED else PIECE
    address = ""

    def usage(_):
        part = unfinished_in(tmp_path, address)
        return Usage(free - part.stat().st_size)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with RawServer(repeated(head, chunk, size=size)) as server:
        address = f"{server.base}/a.gz"
        with pytest.raises(DataError, match="1,073,741,824 stay free"):
            fetch(address, tmp_path)
    size = unfinished_in(tmp_path, address).stat().st_size
    assert size <= 3 * MIB
    assert (size > 0) is (head is CHUNKED)
    assert len(server.asked) == 1
