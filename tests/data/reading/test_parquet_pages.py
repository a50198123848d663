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

from data.reading import parquet_pages
from data.reading.page import BrokenRecord, Page
from data.reading.parquet_pages import read
from data.stores import parquet_files

ROWS = [
    {"text": "Habari.", "url": "https://a.example/", "language": "sw", "n": 1},
    {"text": None, "url": "https://b.example/", "language": "sw", "n": 2},
    {"text": "שלום.", "url": "https://c.example/", "language": "he", "n": 3},
]


def test_rows_are_pages_and_a_broken_one_is_counted(tmp_path):
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    first, second, third = read(path)
    assert first == Page(
        "https://a.example/", "Habari.", declared_language="sw", split="validation"
    )
    assert second == BrokenRecord(f"{tmp_path.name}/{path.name}", 1, "no_text")
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
    (page,) = read(tmp_path / "a.parquet")
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
    assert [one.reason for one in read(path)] == ["no_text"] * 3
    assert asked == [["url"]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("text", "no_text"), ("url", "no_url"), ("timestamp", "invalid_timestamp")],
)
def test_a_column_that_is_not_read_is_no_missing_one(tmp_path, name, reason):
    columns = {"text": ["Habari."], "url": ["https://a.example/"], "timestamp": ["2020-01-01"]}
    for odd in (pa.array([{"x": 1}]), pa.array([Decimal(1)])):
        pq.write_table(pa.table(columns | {name: odd}), tmp_path / "a.parquet")
        assert [one.reason for one in read(tmp_path / "a.parquet")] == [reason]


def test_two_columns_of_one_name_are_not_read(tmp_path):
    texts, lists = pa.array(["Habari."]), pa.array([[0] * 1000])
    pq.write_table(pa.Table.from_arrays([texts, lists], ["text", "text"]), tmp_path / "a.parquet")
    assert [one.reason for one in read(tmp_path / "a.parquet")] == ["no_text"]


def test_large_rows_are_decoded_few_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{row} " * 1000 for row in range(10)]}), path)
    monkeypatch.setattr(parquet_pages, "FREE_BYTES", 8000)
    (group,) = [pq.read_metadata(path).row_group(0)]
    assert parquet_pages._batch_rows(group) in range(1, 8)
    assert [page.text.split()[0] for page in read(path)] == [*"0123456789"]


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "no pandas"])
def test_nanoseconds_are_read_alike_with_and_without_pandas(tmp_path, monkeypatch, pandas):
    """Workers that hold only the wheel have none; Arrow makes times of nanoseconds by it."""
    if not pandas:
        monkeypatch.setitem(sys.modules, "pandas", None)
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    table = pa.table({"text": ["Habari."], "url": ["https://a.example/"], "timestamp": times})
    pq.write_table(table, tmp_path / "a.parquet")
    (page,) = read(tmp_path / "a.parquet")
    assert page.timestamp == "2023-11-14T22:13:20.123456+00:00"


@pytest.mark.parametrize("value", [1556150400, 1556150400.0, time(12), b"2019-04-25", True])
def test_a_timestamp_of_another_type_is_counted(tmp_path, value):
    pq.write_table(pa.Table.from_pylist([ROWS[0] | {"timestamp": value}]), tmp_path / "a.parquet")
    (found,) = read(tmp_path / "a.parquet")
    assert found.reason == "invalid_timestamp"


@pytest.mark.parametrize("row", [0, 300, 999])
@pytest.mark.parametrize("large", [False, True])
def test_a_value_that_python_cannot_have_loses_its_row_alone(tmp_path, monkeypatch, row, large):
    """Arrow's writer takes bytes that are not UTF-8, and years that `datetime` lacks."""
    if large:
        monkeypatch.setattr(parquet_pages, "FREE_BYTES", 0)
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
    found = list(read(tmp_path / "a.parquet"))
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
    monkeypatch.setattr(parquet_files, "most_bytes", lambda _: 1600)
    nulls = pa.nulls(1000, pa.string())
    pq.write_table(pa.table({"text": nulls, "url": nulls}), tmp_path / "nulls.parquet")
    *rows, last = read(tmp_path / "nulls.parquet")
    assert len(rows) == 100
    assert last.reason == "too_large"


@pytest.mark.parametrize("megabytes, rows, pages", [(31, 256, 2), (33, 256, 0), (1, 9000, 64)])
def test_what_a_small_file_unpacks_is_bounded(tmp_path, megabytes, rows, pages):
    path = tmp_path / "bomb.parquet"
    repeated(path, "x" * (megabytes << 20), rows)
    assert path.stat().st_size < 3000
    found = [one if isinstance(one, BrokenRecord) else None for one in read(path)]
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
    found, page = read(path)
    assert (found.offset, found.reason) == (0, "too_large")
    assert page.text == "Habari"


def test_a_file_that_is_cut_while_it_is_read_is_a_loss_and_no_signal(tmp_path):
    path = tmp_path / "cut.parquet"
    rows = pa.table({"text": [f"Habari {n}" * 99 for n in range(9000)], "url": ["u"] * 9000})
    pq.write_table(rows, path, row_group_size=300, compression="none", use_dictionary=False)
    pages = read(path)
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
    assert all(isinstance(one, Page | BrokenRecord) for one in read(path))
