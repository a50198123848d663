import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import json_lines, text_lines
from data.reading.json_lines import read
from data.reading.page import BrokenRecord, Page

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
    "split, found",
    [("train", "train"), ("validation", "validation"), ("dev", "validation"), ("other", "")],
)
def test_splits(tmp_path, split, found):
    (tmp_path / "x.jsonl").write_bytes(line(split=split))
    (page,) = read(tmp_path / "x.jsonl")
    assert isinstance(page, Page)
    assert page.split == found


def test_a_test_split_is_set_aside(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(line(split="test"))
    (tmp_path / "test-00000-of-00002.jsonl").write_bytes(line() + line(split="train"))
    (one,) = read(tmp_path / "x.jsonl")
    by_name, by_field = read(tmp_path / "test-00000-of-00002.jsonl")
    assert one.reason == by_name.reason == "test_split"
    assert by_field.split == "train"


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + line())
    (page,) = read(tmp_path / "x.jsonl")
    assert isinstance(page, Page)


def test_a_page_without_an_address_is_known_by_its_text(tmp_path):
    path = tmp_path / "x.jsonl"
    texts = ["Habari ya asubuhi.", "Karibu.", "Karibu."]
    rows = [{"text": text, "language": "sw"} for text in texts]
    rows[2]["url"] = ""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    first, second, again = read(path)
    assert isinstance(first, Page)
    assert first.url.startswith("sha256:")
    assert first.url != second.url  # pyright: ignore[reportAttributeAccessIssue]
    assert second == again


@pytest.mark.parametrize(
    "broken, reason",
    [
        (b'{"text": "half\n', "not_json"),
        (b"[" * 5000 + b"\n", "not_json"),
        (b'["text"]\n', "not_an_object"),
        (line(text=None), "no_text"),
        (line(text=" \n"), "no_text"),
        (line(url=" "), "no_url"),
        (line(url=7), "no_url"),
        (b'{"url": "u", "text": "caf\xe9"}\n', "invalid_utf8"),
        (line(text="lone \ud800 surrogate"), "invalid_utf8"),
    ],
)
def test_a_broken_line_is_counted_and_its_neighbours_survive(tmp_path, broken, reason):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(line() + broken + b"\n" + line(), mtime=0))
    first, second, third = read(path)
    assert isinstance(first, Page)
    assert isinstance(second, BrokenRecord)
    assert (second.offset, second.reason) == (len(line()), reason)
    assert second.file == f"{tmp_path.name}/x.jsonl.gz"
    assert isinstance(third, Page)


WHOLE = gzip.compress(line() * 2, mtime=0)


@pytest.mark.parametrize(
    "content, reason",
    [
        (WHOLE[:-9], "truncated"),
        (WHOLE + b"garbage" * 9, "unreadable"),
        (WHOLE[:20] + b"\xff\xff" + WHOLE[22:], "unreadable"),
    ],
)
def test_a_damaged_gzip_file_is_one_loss(tmp_path, content, reason):
    path = tmp_path / "x.json.gz"
    path.write_bytes(content)
    *pages, broken = read(path)
    assert isinstance(broken, BrokenRecord)
    assert broken.reason == reason
    assert all(isinstance(page, Page) for page in pages)


def test_a_plain_file_with_the_name_of_a_compressed_one_is_read(tmp_path):
    path = tmp_path / "x.json.gz"
    path.write_bytes(line() * 2)
    assert [type(one) for one in read(path)] == [Page, Page]
    path.write_bytes(b"")
    assert list(read(path)) == []


def test_a_line_without_end_is_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "LONGEST_LINE_BYTES", 1000)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(line() + b"x" * 3_000_000 + b"\n" + line() + b"y" * 5000, mtime=0)
    )
    first, second, third, fourth = read(path)
    assert isinstance(first, Page)
    assert second == BrokenRecord(f"{tmp_path.name}/x.jsonl.gz", len(line()), "too_large")
    assert third == first
    assert isinstance(fourth, BrokenRecord)
    assert fourth.offset == 2 * len(line()) + 3_000_001


@pytest.mark.parametrize("value", ['{"":0}', "{}", "[]", '"é"', "1.5"])
def test_a_line_of_very_many_values_is_not_read(tmp_path, value, monkeypatch):
    monkeypatch.setattr(json_lines, "MOST_VALUES", 100)
    path = tmp_path / "x.jsonl"
    many, few = (b'{"text": "x", "y": [%s]}\n' % b",".join([value.encode()] * n) for n in (101, 20))
    path.write_bytes(many + few)
    broken, page = read(path)
    assert broken == BrokenRecord(f"{tmp_path.name}/x.jsonl", 0, "too_many_values")
    assert isinstance(page, Page)


@pytest.mark.parametrize("text", ["1,2," * 40, '\\",[{' * 40, '"' + ',"\\' * 40])
def test_marks_in_a_text_are_no_values(tmp_path, text, monkeypatch):
    monkeypatch.setattr(json_lines, "MOST_VALUES", 100)
    (tmp_path / "x.jsonl").write_bytes(line(text=text))
    (page,) = read(tmp_path / "x.jsonl")
    assert isinstance(page, Page)
    assert page.text == text


@pytest.mark.parametrize("part", [b'"', b'\\"', b'"\\', b",", b'",'])
def test_a_hostile_line_is_counted_in_the_time_of_its_length(monkeypatch, part):
    """A search that began anew at each quote would take minutes."""
    monkeypatch.setattr(json_lines, "MOST_VALUES", 0)
    assert json_lines._has_too_many_values(b"[" + part * (1 << 20))


@given(st.binary(max_size=200))
def test_bytes_never_raise(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(content)
    assert all(isinstance(one, Page | BrokenRecord) for one in read(path))
