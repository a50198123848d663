import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.json_lines import read
from data.page import BrokenRecord, Page

PAGE = {"url": "http://a.example/", "text": "Habari ya asubuhi.\nKaribu."}


def line(**fields) -> bytes:
    return json.dumps(PAGE | fields).encode() + b"\n"


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, ("", None)),
        ({"timestamp": "2019-01-01T00:00:00Z", "lang": "sw"}, ("2019-01-01T00:00:00Z", "sw")),
        ({"language": "he"}, ("", "iw")),
        ({"lang": "und", "timestamp": None}, ("", None)),
        ({"license": "CC0-1.0", "doc_id": 3}, ("", None)),
    ],
)
def test_fields(tmp_path, fields, expected):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(**fields))
    (page,) = read(path)
    assert isinstance(page, Page)
    assert (page.url, page.text) == (PAGE["url"], PAGE["text"])
    assert (page.timestamp, page.declared_language) == expected


@pytest.mark.parametrize(
    "broken, reason",
    [
        (b'{"text": "half\n', "not_json"),
        (b"[" * 5000 + b"\n", "not_json"),
        (b'["text"]\n', "not_an_object"),
        (line(text=None), "no_text"),
        (line(text=" \n"), "no_text"),
        (line(url=""), "no_url"),
        (line(url=7), "no_url"),
        (b'{"url": "u", "text": "caf\xe9"}\n', "invalid_utf8"),
        (line(text="lone \ud800 surrogate"), "invalid_utf8"),
    ],
)
def test_a_broken_line_is_counted_and_its_neighbours_survive(tmp_path, broken, reason):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(line() + broken + b"\n" + line()))
    first, second, third = read(path)
    assert isinstance(first, Page)
    assert isinstance(second, BrokenRecord)
    assert (second.offset, second.reason) == (len(line()), reason)
    assert second.file == f"{tmp_path.name}/x.jsonl.gz"
    assert isinstance(third, Page)


@pytest.mark.parametrize("cut, reason", [(-9, "truncated"), (0, "unreadable")])
def test_a_damaged_gzip_file_is_one_loss(tmp_path, cut, reason):
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(line() * 2)[:cut] if cut else b"no gzip")
    *pages, broken = read(path)
    assert isinstance(broken, BrokenRecord)
    assert broken.reason == reason
    assert all(isinstance(page, Page) for page in pages)


@given(st.binary(max_size=200))
def test_bytes_never_raise(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(content)
    assert all(isinstance(one, Page | BrokenRecord) for one in read(path))
