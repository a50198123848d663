import json
from typing import Any

import pytest
import yaml

from data.errors import DataError
from data.stores.yaml_files import MOST_BYTES, read_yaml


def written(tmp_path, content: str):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_plain_values_are_read_as_they_were_written(tmp_path, dump):
    value = {"rows": 3, "rate": 0.25, "name": "x: y", "on": True, "none": None, "list": [1, "zwei"]}
    assert read_yaml(written(tmp_path, dump(value)), dict[str, Any]) == value


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("2E6", 2e6), ("1.e2", 1e2), ("7", 7)])
def test_numbers_are_those_of_json(tmp_path, text, value):
    found = read_yaml(written(tmp_path, f"a: {text}"), dict[str, Any])["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "should hold YAML and does not"),
        ("a: &x [1]\nb: *x", "an alias in .*line 2.*; write its value"),
        ("a: 1\na: 2", "a key twice"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("- 1\n- 2", "Expected `object`, got `array`.*; correct it"),
        ("", "Expected `object`, got `null`"),
        ("[" * 2000, "should hold YAML and does not"),
        ("a: " + "x" * MOST_BYTES, "at most 1,048,576 bytes"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path, content, said):
    with pytest.raises(DataError, match=said) as refused:
        read_yaml(written(tmp_path, content), dict[str, Any])
    assert len(str(refused.value)) < 600
