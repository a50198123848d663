""""""

import gzip
import tracemalloc
from collections import deque

import pytest

from data.errors import DataError
from data.reading import crawl
from data.reading.crawl import LONGEST_LINE, read_paths

NAME = "crawl-data/A-2026-11/segments/1/wet/A-00000.warc.wet.gz"


@pytest.mark.parametrize("name", ["wet.paths", "wet.paths.gz"])
def test_lists(tmp_path, name):
    text = f"{NAME}\n\n a/b.warc.wet.gz \n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert list(read_paths(tmp_path / name)) == [NAME, "a/b.warc.wet.gz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"/etc/passwd\n", "lists '/etc/passwd'"),
        (b"a/../../b\n", "lists 'a/../../b'"),
        (b"a\x1b[2Jb\n", r"lists 'a\\x1b\[2Jb'"),
        (b"a\0b\n", r"lists 'a\\x00b'"),
        (b"a//b\n", r"lists 'a//b'"),  # is in a cache the same file as a/b
        (b"./b\n", r"lists './b'"),
        (b"a/\n", r"lists 'a/'"),
        ("a/{}.gz\n".format("й" * 127).encode(), "more than 255 bytes"),
        (b"\xff\xfe", "cannot be read"),
        (b"a" * (LONGEST_LINE + 1), "is larger than any"),
        (b"a\n" + b"a" * 5000, "line 2 .* or remove that line"),
    ],
)
def test_unusable_lists(tmp_path, content, message):
    (tmp_path / "wet.paths").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_paths(tmp_path / "wet.paths"))


def damaged_lists() -> list[bytes]:
    whole = gzip.compress("".join(f"{NAME}{number}\n" for number in range(999)).encode())
    changed = bytearray(whole)
    changed[100] ^= 255
    return [whole[:-9], bytes(changed), whole[:-8] + bytes(8), b"no gzip", whole + b"more"]


@pytest.mark.parametrize("content", damaged_lists())
def test_a_damaged_list_is_one_sentence_that_names_it(tmp_path, content):
    (tmp_path / "wet.paths.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"wet\.paths\.gz should be a list .* cannot be read"):
        list(read_paths(tmp_path / "wet.paths.gz"))


@pytest.mark.parametrize("line", [b"a\n", b"\n", b"a/" * 500 + b"a\n"])
def test_a_list_that_unpacks_to_far_more_than_any_crawl_has_is_refused(tmp_path, monkeypatch, line):
    monkeypatch.setattr(crawl, "MOST_LINES", 50_000)
    monkeypatch.setattr(crawl, "MOST_BYTES", 7_000_000)
    lines = min(50_000, 7_000_000 // len(line)) + 1
    (tmp_path / "wet.paths.gz").write_bytes(gzip.compress(line * lines, 1))
    with pytest.raises(DataError, match="is larger than any"):
        deque(read_paths(tmp_path / "wet.paths.gz"), maxlen=0)


def test_a_list_is_not_held_in_memory(tmp_path):
    with gzip.open(tmp_path / "wet.paths.gz", "wb", 1) as file:
        file.writelines(f"{NAME}{number}\n".encode() for number in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_paths(tmp_path / "wet.paths.gz")) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
