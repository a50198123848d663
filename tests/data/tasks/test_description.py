""" """

import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.reading.page import BrokenRecord
from data.tasks.description import BadRow, Blank, Task, find_task, parse_template, read_rows

VALUE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(st.text("ab {}:"), max_size=4), VALUE)
def test_equals_str_format(literals, value):
    escaped = [one.replace("{", "{{").replace("}", "}}") for one in literals]
    template = "{a field}".join(escaped)
    expected = template.replace("{a field}", "{a}").format(a=value.strip())
    assert parse_template(template, "here").fill({"a field": value}) == expected


def test_values_are_inserted_as_they_are():
    assert parse_template("{a} {b}", "here").fill({"a": "{b}", "b": 3}) == "{b} 3"


@pytest.mark.parametrize(
    ("row", "reason", "kind"),
    [
        ({}, "no_a", BadRow),
        ({"a": None}, "no_a", Blank),
        ({"a": " \n"}, "no_a", Blank),
        ({"a": ["x"]}, "a_is_no_text", BadRow),
        ({"a": "\ud800"}, "invalid_utf8", BadRow),
    ],
)
def test_a_row_without_text_has_a_reason(row, reason, kind):
    with pytest.raises(kind, match=f"^{reason}$"):
        parse_template("{a}", "here").fill(row)


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


TASK = {
    "name": "t", "files": "t.tsv", "input": "topic: {text}", "target": "{label}",
    "metric": "accuracy", "labels": ["yes", "no"], "splits": {"test": "test"},
}  # fmt: skip


def written_description(tmp_path, value, name="t.yaml"):
    path = tmp_path / name
    path.write_text((json.dumps if name.endswith("json") else yaml.safe_dump)(value))
    return str(path)


@pytest.mark.parametrize("name", ["t.yaml", "t.yml", "t.json"])
def test_a_description_is_yaml_or_json_with_its_data_beside_it(tmp_path, name):
    task, directory = find_task(written_description(tmp_path, TASK, name))
    assert task == Task(**TASK | {"labels": ("yes", "no")})
    assert directory == str(tmp_path)
    assert task.fields == ("text", "label", "split", "language")


def test_shipped_descriptions_take_the_place_of_their_data():
    task, directory = find_task("sib200=s3://bucket/sib")
    assert (task.name, len(task.labels), directory) == ("sib200", 7, "s3://bucket/sib")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": "{text}"}, "has the field 'inputs'.*did you mean 'input'"),
        ({"zzz": 1}, "has the field 'zzz'.*a task has name, input"),
        ({"metric": "bleu"}, "metric"),
        ({"labels": [True, False]}, "Expected `str`, got `bool`"),
        ({"splits": {"dev": "dev"}}, "splits"),
        ({"splits": {}}, "splits"),
        ({"input": "topic:"}, "input should name a field"),
        ({"input": "{text.__class__}"}, "is not a name alone"),
        ({"input": "{text[0]}"}, "is not a name alone"),
        ({"input": "{text!r}"}, "is not a name alone"),
        ({"input": "{text:>9}"}, "is not a name alone"),
        ({"input": "{}"}, "is not a name alone"),
        ({"input": "{text"}, "input should be text with names"),
        ({"target": ""}, "neither target nor answers"),
        ({"labels": ["a", "a"]}, "different words"),
        ({"metric": "f1"}, "metric was f1 with labels, which are scored by likelihood"),
        ({"labels": ["a", " "]}, "different words"),
        ({"language": "xx"}, "is not one of mC4's"),
        ({"files": "../t.tsv"}, "below the data's directory"),
        ({"files": "t.csv"}, "end in .jsonl"),
        ({"files": "{a b}.tsv"}, "patterns below"),
        ({"files": "*a" * 250 + ".tsv"}, "of at most 500 characters"),
        ({"files": "".join(f"{{f{n}}}" for n in range(17)) + ".tsv"}, "and 16 fields"),
        ({"name": "../t"}, "name"),
    ],
)
def test_a_wrong_field_is_one_sentence(tmp_path, change, said):
    with pytest.raises(DataError, match=said) as refused:
        find_task(written_description(tmp_path, TASK | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("word", ["sib200", "sib200=", "other=DIR", "t.txt", ""])
def test_no_description(word):
    with pytest.raises(DataError, match="sib200=DIR"):
        find_task(word)


def test_a_missing_description_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml does not exist"):
        find_task(str(tmp_path / "none.yaml"))
