import json

import pytest
import yaml

from data.errors import DataError
from data.tasks.description import Task, find_task

TASK = {
    "name": "t", "files": "t.tsv", "input": "topic: {text}", "target": "{label}",
    "metric": "accuracy", "labels": ["yes", "no"], "splits": {"test": "test"},
}  # fmt: skip


def written(tmp_path, value, name="t.yaml"):
    path = tmp_path / name
    path.write_text((json.dumps if name.endswith("json") else yaml.safe_dump)(value))
    return str(path)


@pytest.mark.parametrize("name", ["t.yaml", "t.yml", "t.json"])
def test_a_description_is_yaml_or_json_with_its_data_beside_it(tmp_path, name):
    task, directory = find_task(written(tmp_path, TASK, name))
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
        find_task(written(tmp_path, TASK | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("word", ["sib200", "sib200=", "other=DIR", "t.txt", ""])
def test_no_description(word):
    with pytest.raises(DataError, match="sib200=DIR"):
        find_task(word)


def test_a_missing_description_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml does not exist"):
        find_task(str(tmp_path / "none.yaml"))
