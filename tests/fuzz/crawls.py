"""What a crawl's server answers, addresses of pages, and places of a list's files in a cache."""

import gzip
import itertools
import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

from family import Family, Read
from raw_server import RawServer

from data.curation.robots import path_of
from data.errors import DataError
from data.reading import crawl
from data.urls import domains, folder_ends, host_and_page, host_of, key, normalized_hash

CONTENT = gzip.compress(b"A page of a crawl. " * 20)
MOST_FILES = 10
LONGEST_KEY = 1000


def _answer(status: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *headers, b"", body))


LENGTH = b"Content-Length: %d" % len(CONTENT)
CHUNKS = b"10;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nDigest: x\r\n\r\n" % (
    CONTENT[:16], len(CONTENT) - 16, CONTENT[16:],
)  # fmt: skip
ANSWERS = (
    _answer(b"200 OK", LENGTH, b'ETag: "1"', body=CONTENT),
    _answer(b"200 OK", b"Transfer-Encoding: chunked", b'ETag: "1"', body=CHUNKS),
    _answer(b"206 Partial Content", b"Content-Range: bytes 9-20/21", b"Content-Length: 12",
            body=CONTENT[:12]),
    _answer(b"301 Moved", b"Location: http://127.0.0.1:80/b.gz", b"Content-Length: 0"),
    _answer(b"302 Found", b"Location: /b.gz?a=%C3%A9#c", b"Content-Length: 0"),
    _answer(b"100 Continue") + _answer(b"200 OK", LENGTH, body=CONTENT),
    _answer(b"503 Busy", b"Retry-After: 9", b"Content-Length: 0"),
)  # fmt: skip
ADDRESSES = (
    "https://www.a.example:8080/b/../c?utm_source=d#e\nhttp://user:word@xn--bcher-kva.example/%7E\n"
    "//bücher.example/ß?ü=%FF\nhttp://[2001:db8::1]:80/\nhttps://xn--00000000000000000w.١/\n"
    "https://i❤.ws/\nhttp://例え.テスト/\nhttps://ا٣.example/\n"
).encode()
PLACES = b"x/a.wet.gz\nx/a.wet.gz-b\nx/b.wet.gz/c.gz\nx/a.wet.gz.version\ny/\xc3\xa9.part\nz\n"


def server(path: Path) -> Read:
    whole = ANSWERS[0]
    with (
        RawServer(path.read_bytes(), whole) as server,
        tempfile.TemporaryDirectory(dir=path.parent) as cache,
        mock.patch.multiple(crawl, ATTEMPTS=2, FIRST_WAIT_SECONDS=0.0, LONGEST_WAIT_SECONDS=0.0),
        mock.patch.object(crawl, "_warn_once", None),
    ):
        file = crawl.fetch(f"{server.base}/a.gz", Path(cache))
        return Read(file.stat().st_size, len(server.asked) > 1)


def addresses(path: Path) -> Read:
    work = 0
    for url in path.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        host, page = host_and_page(url)
        address = key(host, page)
        above = (address[:end] for end in folder_ends(address, LONGEST_KEY))
        keys = itertools.chain(domains(host, LONGEST_KEY), above)
        work += len(host_of(url)) + len(path_of(url)) + sum(map(len, keys))
        if url.isprintable():  # as readers of pages leave no half of a surrogate pair
            work += len(normalized_hash(url))
    return Read(work, False)


def kept_at_once() -> AbstractContextManager[object]:
    """Fetches files of one byte, without a server."""
    return mock.patch.multiple(
        crawl,
        _fetch_with_retries=lambda address, part, version: part.write(b"x"),
        publish=os.replace,  # without waiting for the disk
    )


def places(path: Path) -> Read:
    names = list(crawl.read_paths(path))
    addresses = [f"https://a.example/crawl/{name}" for name in names]
    crawl.check_places(addresses)
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as cache,
        kept_at_once(),
    ):
        files = {crawl.fetch(address, Path(cache)) for address in addresses[:MOST_FILES]}
        if any(not file.is_file() or Path(cache) not in file.parents for file in files):
            raise AssertionError(f"not in its cache: {files}")
        if len(files) < len(set(addresses[:MOST_FILES])):
            raise AssertionError("two addresses have one place")
    return Read(sum(map(len, names)), False)


def full_cache(path: Path) -> Read:
    """What two lists leave that were not compared with each other."""
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as cache,
        kept_at_once(),
    ):
        refused = 0
        for name in itertools.islice(crawl.read_paths(path), MOST_FILES):
            try:
                crawl.fetch(f"https://a.example/{name}", Path(cache))
            except DataError:
                refused += 1
    return Read(refused, refused > 0)


FAMILIES = (
    Family(name="crawl's server", file="answer", read=server, seeds=ANSWERS),
    Family(name="addresses", file="addresses.txt", read=addresses, seeds=(ADDRESSES,)),
    Family(
        name="places in a cache", file="wet.paths", read=places,
        seeds=(PLACES, PLACES.replace(b"/", b"/" + b"d" * 250 + b"/")),
    ),
    Family(
        name="places in a full cache", file="wet.paths", read=full_cache,
        seeds=(PLACES + b"x/b.wet.gz\nx/a.wet.gz/d\n",),
    ),
)  # fmt: skip
