import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.reading.page import BrokenRecord
from data.tasks.file_rows import read_rows

ROWS = [{"text": 'a "quoted" one', "label": "x"}, {"text": "Habari ya asubuhi", "label": "y"}]


def written(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    if "tsv" in name:
        content = "".join(
            "\t".join(row) + "\n" for row in [ROWS[0].keys(), *(r.values() for r in ROWS)]
        )
    else:
        content = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz", "a.parquet"])
def test_every_format_has_the_same_rows(tmp_path, name):
    path = written(tmp_path, name)
    assert [*read_rows(path, ["text", "label"], name)] == ROWS
    assert [*read_rows(path, ["label"], name)] == [{"label": "x"}, {"label": "y"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "a.parquet"])
def test_a_field_that_no_row_has_is_one_sentence(tmp_path, name):
    with pytest.raises(
        DataError, match=f"^{name} should have the field 'topic' and has text, label; "
    ):
        list(read_rows(written(tmp_path, name), ["text", "topic"], name))


@pytest.mark.parametrize(
    ("name", "content", "reasons"),
    [
        (
            "a.jsonl",
            b'{"text": "caf\xe9"}\n{\n[1]\n\n{"text": "x"}\n',
            ["invalid_utf8", "not_json", "not_an_object"],
        ),
        (
            "a.tsv",
            b"text\tb\nx\nx\ty\tz\ncaf\xe9\t1\nx\ty\n",
            ["wrong_columns", "wrong_columns", "invalid_utf8"],
        ),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n', mtime=0)[:-4], ["truncated"]),
    ],
)
def test_broken_lines_have_reasons_and_whole_ones_are_kept(tmp_path, name, content, reasons):
    (tmp_path / name).write_bytes(content)
    rows = list(read_rows(tmp_path / name, ["text"], name))
    assert [row.reason for row in rows if isinstance(row, BrokenRecord)] == reasons
    assert [row for row in rows if isinstance(row, dict)] == [{"text": "x"}]


def test_a_table_that_names_a_column_twice_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("text\ttext\na\tb\n")
    with pytest.raises(DataError, match="column names, each once"):
        list(read_rows(tmp_path / "a.tsv", ["text"], "a.tsv"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a" + b"\t" * (15 << 20), "at most 1,000 columns and begins with 15,728,641"),
        (b"text\n" + b"a\n" * (7 << 20), "at most 11.,... rows by its size and has more"),
        (b"text\n" + b"a\tb\n" * (4 << 20), "at most 11.,... rows by its size and has more"),
    ],
)
def test_a_few_kilobytes_take_little_memory(tmp_path, content, said):
    """Split into cells or kept as rows, they took 2 GB."""
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    with pytest.raises(DataError, match=said):
        for _ in read_rows(tmp_path / "a.tsv.gz", ["text"], "a.tsv.gz"):
            pass
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_line_of_many_columns_is_not_split(tmp_path):
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"text\n" + b"a\t" * (15 << 20) + b"\na\n"))
    tracemalloc.start()
    broken, whole = read_rows(tmp_path / "a.tsv.gz", ["text"], "a.tsv.gz")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert (broken.reason, whole) == ("wrong_columns", {"text": "a"})


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_damage_of_a_whole_file_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_text('{"data": [{"paragraphs": 3}]}')
    with pytest.raises(DataError, match=r"a\.(json|parquet) should"):
        list(read_rows(tmp_path / name, ["text"], name))


def test_squad_is_one_row_per_question(tmp_path):
    answers = [
        {"text": "two", "answer_start": 0},
        {"text": "two", "answer_start": 9},
        {"text": "2"},
    ]
    questions = [
        {"id": "q1", "question": "How many?", "answers": answers},
        {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    squad = {
        "version": "2",
        "data": [{"title": "T", "paragraphs": [{"context": "c", "qas": questions}]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(squad))
    one, other = read_rows(tmp_path / "a.json", ["id", "context", "question", "answers"], "a.json")
    assert one == {"id": "q1", "context": "c", "question": "How many?", "answers": ["two", "2"]}
    assert isinstance(other, dict)
    assert other["answers"] == []


def test_columns_of_parquet_are_texts_or_numbers(tmp_path):
    columns = {
        "a": pa.array(["x", None]),
        "b": pa.array([1, 2]),
        "c": pa.array(["x", "y"]).dictionary_encode(),
        "d": pa.array([["x"], []]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert [*read_rows(tmp_path / "a.parquet", ["a", "b", "c"], "a.parquet")] == [
        {"a": "x", "b": 1, "c": "x"},
        {"a": None, "b": 2, "c": "y"},
    ]
    with pytest.raises(DataError, match=r"column d and has list<.*>; write it as JSON Lines"):
        list(read_rows(tmp_path / "a.parquet", ["d"], "a.parquet"))
