""" """

import gzip
import json
import os
import sys
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.files import parquet_files
from data.reading import records, web_archive
from data.reading.page import BrokenRecord, Page
from data.reading.records import Published, defect_of, page_of, published_as, read_json_lines
from data.reading.records import read_parquet as read_parquet_pages


@pytest.mark.parametrize(
    "name, language, split",
    [
        ("c4-sw.tfrecord-00000-of-00002.json.gz", "sw", "train"),
        ("c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz", "zh-Latn", "validation"),
        ("c4-validation.00000-of-00008.json.gz", "en", "validation"),
        ("c4-und.tfrecord-00000-of-00002.json.gz", None, "train"),
        ("train-00000-of-00002.parquet", None, "train"),
        ("test-00000-of-00002.parquet", None, "test"),
        ("validation-00000-of-00001-6ef3991c06080e14.parquet", None, "validation"),
        ("swahili.jsonl.gz", None, ""),
    ],
)
def test_names_hold_language_and_split(name, language, split):
    assert published_as(name) == Published(language, split)


NOTHING = Published()


@pytest.mark.parametrize("text", ["zzz", "2026-02-30", "2026-02-30T00:00:00Z", "yesterday"])
def test_a_date_that_does_not_exist_is_a_defect(text):
    assert defect_of({"text": "x", "timestamp": text}, NOTHING) == "invalid_timestamp"


@pytest.mark.parametrize("text", ["", None, "2026-02-28", "2026-02-28T00:00:00Z"])
def test_a_date_may_be_missing_or_real(text):
    assert defect_of({"text": "x", "timestamp": text}, NOTHING) is None


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
    (page,) = read_json_lines(path)
    assert isinstance(page, Page)
    assert (page.url, page.text) == (PAGE["url"], PAGE["text"])
    assert (page.timestamp, page.declared_language) == expected


@pytest.mark.parametrize(
    "split, found",
    [
        *(("train", "train"), ("validation", "validation"), ("dev", "validation")),
        *((" Val", "validation"), ("Training", "train"), ("other", "")),
    ],
)
def test_splits(tmp_path, split, found):
    (tmp_path / "x.jsonl").write_bytes(line(split=split))
    (page,) = read_json_lines(tmp_path / "x.jsonl")
    assert isinstance(page, Page)
    assert page.split == found


def test_a_test_split_is_set_aside(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(line(split="test"))
    (tmp_path / "test-00000-of-00002.jsonl").write_bytes(line() + line(split="train"))
    (one,) = read_json_lines(tmp_path / "x.jsonl")
    by_name, by_field = read_json_lines(tmp_path / "test-00000-of-00002.jsonl")
    assert one.reason == by_name.reason == "test_split"
    assert by_field.split == "train"


def test_a_gzip_file_of_no_bytes_is_truncated(tmp_path):
    (tmp_path / "x.jsonl").touch()
    (tmp_path / "x.jsonl.gz").touch()
    (tmp_path / "x.warc.wet.gz").touch()
    (lines,) = read_json_lines(tmp_path / "x.jsonl.gz")
    (pages,) = web_archive.read(tmp_path / "x.warc.wet.gz")
    assert lines.reason == pages.reason == "truncated"
    assert not [*read_json_lines(tmp_path / "x.jsonl")]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + line())
    (page,) = read_json_lines(tmp_path / "x.jsonl")
    assert isinstance(page, Page)


def test_a_page_without_an_address_is_known_by_its_text(tmp_path):
    path = tmp_path / "x.jsonl"
    texts = ["Habari ya asubuhi.", "Karibu.", "Karibu."]
    rows = [{"text": text, "language": "sw"} for text in texts]
    rows[2]["url"] = ""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    first, second, again = read_json_lines(path)
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
    first, second, third = read_json_lines(path)
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
    *pages, broken = read_json_lines(path)
    assert isinstance(broken, BrokenRecord)
    assert broken.reason == reason
    assert all(isinstance(page, Page) for page in pages)


def test_a_plain_file_with_the_name_of_a_compressed_one_is_read(tmp_path):
    path = tmp_path / "x.json.gz"
    path.write_bytes(line() * 2)
    assert [type(one) for one in read_json_lines(path)] == [Page, Page]


def test_a_line_without_end_is_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LONGEST_LINE_BYTES", 1000)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(line() + b"x" * 3_000_000 + b"\n" + line() + b"y" * 5000, mtime=0)
    )
    first, second, third, fourth = read_json_lines(path)
    assert isinstance(first, Page)
    name = f"{tmp_path.name}/x.jsonl.gz"
    assert second == BrokenRecord(name, len(line()), "too_large", size=3_000_001)
    assert third == first
    assert isinstance(fourth, BrokenRecord)
    assert fourth.offset == 2 * len(line()) + 3_000_001


@pytest.mark.parametrize("value", ['{"":0}', "{}", "[]", '"é"', "1.5"])
def test_a_line_of_very_many_values_is_not_read(tmp_path, value, monkeypatch):
    monkeypatch.setattr(records, "MOST_VALUES", 100)
    path = tmp_path / "x.jsonl"
    many, few = (b'{"text": "x", "y": [%s]}\n' % b",".join([value.encode()] * n) for n in (101, 20))
    path.write_bytes(many + few)
    broken, page = read_json_lines(path)
    name = f"{tmp_path.name}/x.jsonl"
    assert broken == BrokenRecord(name, 0, "too_many_values", size=len(many))
    assert isinstance(page, Page)


@pytest.mark.parametrize("text", ["1,2," * 40, '\\",[{' * 40, '"' + ',"\\' * 40])
def test_marks_in_a_text_are_no_values(tmp_path, text, monkeypatch):
    monkeypatch.setattr(records, "MOST_VALUES", 100)
    (tmp_path / "x.jsonl").write_bytes(line(text=text))
    (page,) = read_json_lines(tmp_path / "x.jsonl")
    assert isinstance(page, Page)
    assert page.text == text


@pytest.mark.parametrize("part", [b'"', b'\\"', b'"\\', b",", b'",'])
def test_a_hostile_line_is_counted_in_the_time_of_its_length(monkeypatch, part):
    """A search that began anew at each quote would take minutes."""
    monkeypatch.setattr(records, "MOST_VALUES", 0)
    assert records._has_too_many_values(b"[" + part * (1 << 20))


@given(st.binary(max_size=200))
def test_bytes_never_raise(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(content)
    assert all(isinstance(one, Page | BrokenRecord) for one in read_json_lines(path))


ROWS = [
    {"text": "Habari.", "url": "https://a.example/", "language": "sw", "n": 1},
    {"text": None, "url": "https://b.example/", "language": "sw", "n": 2},
    {"text": "שלום.", "url": "https://c.example/", "language": "he", "n": 3},
]


def test_rows_are_pages_and_a_broken_one_is_counted(tmp_path):
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    first, second, third = read_parquet_pages(path)
    assert first == Page(
        "https://a.example/", "Habari.", declared_language="sw", split="validation"
    )
    assert second[:3] == (f"{tmp_path.name}/{path.name}", 1, "no_text")
    assert isinstance(third, Page)
    assert third.declared_language == "iw"


@pytest.mark.parametrize(
    "value, timestamp",
    [
        (date(2019, 4, 25), "2019-04-25"),
        (datetime(2019, 4, 25, 12, 30), "2019-04-25T12:30:00"),
        ("2019-04-25", "2019-04-25"),
        (None, ""),
    ],
)
def test_dates_and_times_are_timestamps(tmp_path, value, timestamp):
    pq.write_table(pa.Table.from_pylist([ROWS[0] | {"timestamp": value}]), tmp_path / "a.parquet")
    (page,) = read_parquet_pages(tmp_path / "a.parquet")
    assert page.timestamp == timestamp


def test_lists_are_not_decoded(tmp_path, monkeypatch):
    """A few hundred bytes of equal numbers would be gigabytes."""
    path = tmp_path / "a.parquet"
    texts = pa.array([[0] * 1000] * 3, pa.list_(pa.int64()))
    pq.write_table(pa.table({"text": texts, "url": ["https://a.example/"] * 3}), path)
    asked = []
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda *a, **k: asked.append(k["columns"]) or whole(*a, **k),
    )
    assert [one.reason for one in read_parquet_pages(path)] == ["no_text"] * 3
    assert asked == [["url"]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("text", "no_text"), ("url", "no_url"), ("timestamp", "invalid_timestamp")],
)
def test_a_column_that_is_not_read_is_no_missing_one(tmp_path, name, reason):
    columns = {"text": ["Habari."], "url": ["https://a.example/"], "timestamp": ["2020-01-01"]}
    for odd in (pa.array([{"x": 1}]), pa.array([Decimal(1)])):
        pq.write_table(pa.table(columns | {name: odd}), tmp_path / "a.parquet")
        assert [one.reason for one in read_parquet_pages(tmp_path / "a.parquet")] == [reason]


def test_two_columns_of_one_name_are_not_read(tmp_path):
    texts, lists = pa.array(["Habari."]), pa.array([[0] * 1000])
    pq.write_table(pa.Table.from_arrays([texts, lists], ["text", "text"]), tmp_path / "a.parquet")
    assert [one.reason for one in read_parquet_pages(tmp_path / "a.parquet")] == ["no_text"]


def test_large_rows_are_decoded_few_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{row} " * 1000 for row in range(10)]}), path)
    monkeypatch.setattr(records, "FREE_BYTES", 8000)
    (group,) = [pq.read_metadata(path).row_group(0)]
    assert records._batch_rows(group) in range(1, 8)
    assert [page.text.split()[0] for page in read_parquet_pages(path)] == [*"0123456789"]


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "no pandas"])
def test_nanoseconds_are_read_alike_with_and_without_pandas(tmp_path, monkeypatch, pandas):
    """Workers that hold only the wheel have none; Arrow makes times of nanoseconds by it."""
    if not pandas:
        monkeypatch.setitem(sys.modules, "pandas", None)
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    table = pa.table({"text": ["Habari."], "url": ["https://a.example/"], "timestamp": times})
    pq.write_table(table, tmp_path / "a.parquet")
    (page,) = read_parquet_pages(tmp_path / "a.parquet")
    assert page.timestamp == "2023-11-14T22:13:20.123456+00:00"


@pytest.mark.parametrize("value", [1556150400, 1556150400.0, time(12), b"2019-04-25", True])
def test_a_timestamp_of_another_type_is_counted(tmp_path, value):
    pq.write_table(pa.Table.from_pylist([ROWS[0] | {"timestamp": value}]), tmp_path / "a.parquet")
    (found,) = read_parquet_pages(tmp_path / "a.parquet")
    assert found.reason == "invalid_timestamp"


@pytest.mark.parametrize("row", [0, 300, 999])
@pytest.mark.parametrize("large", [False, True])
def test_a_value_that_python_cannot_have_loses_its_row_alone(tmp_path, monkeypatch, row, large):
    """Arrow's writer takes bytes that are not UTF-8, and years that `datetime` lacks."""
    if large:
        monkeypatch.setattr(records, "FREE_BYTES", 0)
    texts = [f"Habari {n}".encode() for n in range(1000)]
    times = [1_556_150_400_000_000] * 1000
    texts[row], times[row // 2] = b"Habari \xff", 1 << 62
    table = pa.table(
        {
            "text": pa.array(texts, pa.binary()).view(pa.string()),
            "url": [f"https://a.example/{n}" for n in range(1000)],
            "timestamp": pa.array(times, pa.int64()).view(pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = list(read_parquet_pages(tmp_path / "a.parquet"))
    broken = {one.offset: one.reason for one in found if isinstance(one, BrokenRecord)}
    assert broken == {row // 2: "invalid_timestamp"} | {row: "invalid_utf8"}
    assert len(found) == 1000


def repeated(path: Path, text: str, rows: int) -> None:
    """Writes one value and a reference to it per row: some bytes of Parquet for each megabyte."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    table = pa.table({"text": shared, "url": ["https://a.example/"] * rows})
    pq.write_table(table, path, compression="zstd")


def test_rows_without_a_value_are_bounded_too(tmp_path, monkeypatch):
    """Two million of them take 5 kB in a file."""
    monkeypatch.setattr(parquet_files, "most_bytes", lambda *_: 1600)
    nulls = pa.nulls(1000, pa.string())
    pq.write_table(pa.table({"text": nulls, "url": nulls}), tmp_path / "nulls.parquet")
    *rows, last = read_parquet_pages(tmp_path / "nulls.parquet")
    assert len(rows) == 100
    assert last.reason == "too_large"


@pytest.mark.parametrize("megabytes, rows, pages", [(31, 256, 2), (33, 256, 0), (1, 9000, 64)])
def test_what_a_small_file_unpacks_is_bounded(tmp_path, megabytes, rows, pages):
    path = tmp_path / "bomb.parquet"
    repeated(path, "x" * (megabytes << 20), rows)
    assert path.stat().st_size < 3000
    found = [one if isinstance(one, BrokenRecord) else None for one in read_parquet_pages(path)]
    assert found.count(None) == pages
    assert found[-1] is not None
    assert found[-1].reason == "too_large"
    assert len(found) < 100


def test_a_row_group_that_declares_too_much_is_not_read(tmp_path):
    path = tmp_path / "bomb.parquet"
    table = pa.table({"text": ["x" * (80 << 20)], "url": ["u"]})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as file:
        file.write_table(table)
        file.write_table(pa.table({"text": ["Habari"], "url": ["u"]}))
    found, page = read_parquet_pages(path)
    assert (found.offset, found.reason) == (0, "too_large")
    assert page.text == "Habari"


def test_a_file_that_is_cut_while_it_is_read_is_a_loss_and_no_signal(tmp_path):
    path = tmp_path / "cut.parquet"
    rows = pa.table({"text": [f"Habari {n}" * 99 for n in range(9000)], "url": ["u"] * 9000})
    pq.write_table(rows, path, row_group_size=300, compression="none", use_dictionary=False)
    pages = read_parquet_pages(path)
    assert isinstance(next(pages), Page)
    os.truncate(path, 5000)
    assert [one for one in pages if isinstance(one, BrokenRecord)][-1].reason == "unreadable"


@settings(max_examples=60)
@given(st.integers(0, 1500), st.integers(1, 255), st.booleans())
def test_damage_never_raises(tmp_path_factory, at, flip, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    whole = path.read_bytes()
    at = at % len(whole)
    path.write_bytes(
        whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
    )
    assert all(isinstance(one, Page | BrokenRecord) for one in read_parquet_pages(path))


def test_declarations_that_the_table_lacks_stay_with_their_page(tmp_path):
    rows = [{"language": "sw"}, {"lang": "pt-BR"}, {"language": "x\x1b\ud800"}, {"language": 3}, {}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": "a"} | row) for row in rows))
    pages = [(page.declared_language, page.declaration) for page in read_json_lines(path)]
    assert pages == [("sw", ""), ("pt", "pt-BR"), (None, "x\\x1b\\ud800"), (None, ""), (None, "")]
    table = pa.table({"text": ["a", "b", "c"], "language": ["sw", "zh_TW", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    pages = [page.declaration for page in read_parquet_pages(tmp_path / "a.parquet")]
    assert pages == ["", "zh_TW", ""]


def test_a_broken_record_has_the_bytes_that_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LONGEST_LINE_BYTES", 1000)
    monkeypatch.setattr(records, "LARGEST_VALUE_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text("not JSON\n" + "x" * 2_500_000 + "\n" + '{"text": ""}\n')
    assert [record.size for record in read_json_lines(path)] == [9, 2_500_001, 13]
    pq.write_table(pa.table({"text": ["x" * 5000]}), tmp_path / "a.parquet")
    (record,) = read_parquet_pages(tmp_path / "a.parquet")
    assert record.reason == "too_large"
    assert record.size >= 5000


@pytest.mark.parametrize(
    ("language", "script", "code"),
    [
        ("hin", "Latn", "hi-Latn"),
        ("hin", "Deva", "hi"),
        ("cmn", "Hani", "zh"),
        ("swh", "Latn", "sw"),
        ("xyz", "Latn", None),
        ("", "Latn", None),
        ("hi", None, "hi"),
    ],
)
def test_a_declared_script_makes_the_language_its_variant(language, script, code):
    """FineWeb2's columns: romanised Hindi is a language of its own in mC4."""
    record = {"text": "Habari.", "language": language, "language_script": script}
    assert page_of(record, Published()).declared_language == code
