import json
from pathlib import Path

import pytest

from data.errors import DataError
from data.tasks.description import Task
from data.tasks.examples import read_examples, read_task

TOYS = Path(__file__).parents[2] / "toy_tasks"
TASK = Task(
    name="t", files="*.jsonl", input="topic: {text}", target="{label}", metric="accuracy",
    splits={"train": "train", "test": "test"},
)  # fmt: skip
ROW = {"text": "Habari", "label": "x", "split": "test", "language": "swa"}
TRAIN = ROW | {"split": "train"}


def read(tmp_path, rows, **changes):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    fields = {name: getattr(TASK, name) for name in TASK.__dataclass_fields__}
    return read_examples(Task(**fields | changes), str(tmp_path))


def test_toy_classification():
    data = read_task(f"{TOYS}/topics/topics.yaml")
    assert [len(data.train), len(data.development), len(data.test)] == [96, 24, 24]
    for found in (data.train, data.development, data.test):
        assert [one.language for one in found] == sorted(one.language for one in found)
        assert {one.target for one in found} == set(data.task.labels)
        by_language = {
            code: [one.identity for one in found if one.language == code]
            for code in ("en", "sw", "zh")
        }
        assert by_language["en"] == by_language["sw"] == by_language["zh"]
    assert data.test[-1].input == "topic: 我的朋友喜欢汤。"
    assert data.test[-1].texts == ("我的朋友喜欢汤。",)
    assert data.set_aside == {}


def test_toy_questions():
    data = read_task(f"{TOYS}/questions/questions.yaml")
    assert {one.language for one in data.train} == {"en"}
    assert {one.language for one in data.test} == {"en", "sw"}
    assert (
        data.test[-1].input
        == "question: Daudi ana nini? context: Daudi anaishi Dodoma na ana miti mitatu."
    )
    assert (data.test[-1].target, data.test[-1].answers) == ("miti mitatu", ("miti mitatu", "miti"))


def test_rows_that_make_no_example_are_counted(tmp_path):
    rows = [
        TRAIN, ROW, ROW | {"text": None}, ROW | {"text": ["a"]}, ROW | {"split": "dev"},
        ROW | {"language": "la-x"}, "{", {"text": "x", "language": "sw", "split": "test"},
    ]  # fmt: skip
    data = read(tmp_path, rows)
    assert (len(data.train), len(data.test)) == (1, 1)
    assert data.test[0].language == "sw"
    assert data.set_aside == {
        "no_label": 1, "no_text": 1, "not_json": 1, "other_language": 1, "other_split": 1,
        "text_is_no_text": 1,
    }  # fmt: skip


def test_identities_are_unique_within_a_language_and_split(tmp_path):
    rows = [TRAIN | {"id": 1}, ROW | {"id": 1}, ROW | {"id": 1}, ROW | {"id": 1, "language": "en"}]
    data = read(tmp_path, rows, identity="{id}")
    assert [(one.language, one.identity) for one in data.test] == [("en", "1"), ("sw", "1")]
    assert data.set_aside == {"repeated_identity": 1}


def test_without_an_identity_no_two_rows_share_one(tmp_path):
    data = read(tmp_path, [TRAIN, ROW, ROW, ROW | {"language": "en"}])
    assert len({one.identity for one in data.test}) == 3


@pytest.mark.parametrize("value", ["", None, " "])
def test_an_empty_target_is_one_sentence(tmp_path, value):
    with pytest.raises(
        DataError, match=r"row 2, should have a target by '\{label\}' and has an empty"
    ):
        read(tmp_path, [TRAIN, ROW | {"label": value}])


def test_an_unknown_label_is_one_sentence(tmp_path):
    with pytest.raises(
        DataError, match="row 2, has the target 'x', which is none of the labels y, z"
    ):
        read(tmp_path, [TRAIN | {"label": "y"}, ROW], labels=("y", "z"))


def test_a_missing_split_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"has 'test' as its test split.*splits found: train; rows"):
        read(tmp_path, [TRAIN])


def test_missing_files_and_fields_are_one_sentence_each(tmp_path):
    with pytest.raises(DataError, match=r"reads the files b\.jsonl and .* has none"):
        read(tmp_path, [ROW], files="b.jsonl")
    with pytest.raises(DataError, match="should have the field 'topic' and has text, label"):
        read(tmp_path, [TRAIN, ROW], target="{topic}")


def test_names_of_files_supply_fields(tmp_path):
    for split in ("train", "test"):
        for code in ("he", "ru-Latn", "yor"):
            path = tmp_path / split / f"x-{code}-{code}.tsv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("text\tlabel\na\tb\n")
    (tmp_path / "test/x-en-sw.tsv").write_text("no table of this task")
    fields = {name: getattr(TASK, name) for name in TASK.__dataclass_fields__}
    for changes in (
        {"files": "{split}/x-{language}-{language}.tsv"},
        {
            "files": "",
            "splits": {s: f"{s}/*-{{language}}-{{language}}.tsv" for s in ("train", "test")},
        },
    ):
        data = read_examples(Task(**fields | changes), str(tmp_path))
        assert {one.language for one in data.train} == {one.language for one in data.test}
        assert [one.language for one in data.test] == ["iw", "ru-Latn", "yo"]


@pytest.mark.parametrize(
    "files", ["*a" * 240 + "b.jsonl", "".join(f"{{f{n}}}a" for n in range(16)) + ".tsv"]
)
def test_patterns_take_time_in_proportion_to_names(tmp_path, files):
    """Python's own search would not end."""
    (tmp_path / ("a" * 245 + ".jsonl")).touch()
    with pytest.raises(DataError, match="has none"):
        read(tmp_path, [TRAIN], files=files)


def test_a_region_or_script_belongs_to_the_language(tmp_path):
    """In `dev-zh-Latn` the split is `dev`, and Latin script no language."""
    for name in ("train-pt", "dev-pt", "train-zh-Latn", "dev-zh-Latn"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\na\tb\n")
    fields = {name: getattr(TASK, name) for name in TASK.__dataclass_fields__}
    splits = {"train": "train", "development": "dev"}
    named = {"files": "{split}-{language}.tsv", "splits": splits}
    data = read_examples(Task(**fields | named), str(tmp_path))
    assert [one.language for one in data.development] == ["pt", "zh-Latn"]
    assert not data.set_aside


def test_of_several_files_of_one_language_the_usual_one_counts(tmp_path):
    """Codes of FLORES-200: Dari and Nynorsk come before Persian and Bokmål by name."""
    codes = "als_Latn", "pes_Arab", "prs_Arab", "nno_Latn", "nob_Latn", "sin_Latn", "sin_Sinh"
    for code in codes:
        (tmp_path / f"{code}.jsonl").write_text(f'{{"text": "{code}", "label": "a", "id": 1}}\n')
    description = {
        "name": "t", "files": "{language}_{script}.jsonl", "input": "{text}", "target": "{label}",
        "metric": "accuracy", "labels": ["a", "b"], "splits": {"test": "test"}, "split": "test",
        "identity": "{id}",
    }  # fmt: skip
    (tmp_path / "t.json").write_text(json.dumps(description))
    data = read_task(str(tmp_path / "t.json"))
    assert {one.language: one.input for one in data.test} == {
        "sq": "als_Latn", "fa": "pes_Arab", "no": "nob_Latn", "si": "sin_Sinh",
    }  # fmt: skip
    assert data.set_aside == {"repeated_identity": 3}


def test_one_split_may_serve_as_two_and_constants_name_it(tmp_path):
    data = read(
        tmp_path,
        [ROW],
        split="all",
        language="sw",
        splits={"development": "all", "test": "all"},
    )
    assert data.development == data.test
    assert data.train == []


@pytest.mark.parametrize("values", [[False, True, False], [0, 3, 0.0]])
def test_false_and_zero_are_answers(tmp_path, values):
    rows = [{"q": "Is it?", "a": value, "split": "test", "language": "en"} for value in values]
    data = read(
        tmp_path, rows, input="{q}", target="", answers="a", metric="f1", splits={"test": "test"}
    )
    assert [one.answers for one in data.test] == [(str(value),) for value in values]


def test_answers_as_lists_of_published_squad_and_as_text(tmp_path):
    values = [
        {"text": ["here", "there"], "answer_start": [0, 5]}, {"text": [], "answer_start": []},
        ["a", "b", "a"], "one", "",
    ]  # fmt: skip
    rows = [{"q": "Where?", "a": value, "split": "test", "language": "en"} for value in values]
    data = read(
        tmp_path, rows, input="{q}", target="", answers="a", metric="f1", splits={"test": "test"}
    )
    assert [one.answers for one in data.test] == [("here", "there"), ("a", "b"), ("one",)]
    assert [one.target for one in data.test] == ["here", "a", "one"]
    assert data.set_aside == {"no_answers": 2}
