import json
import math
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2E6", 2e6),
        ("1.e2", 1e2),
        ("-.5", -0.5),
        ("7", 7),
        ("-0", 0),
        ("-.inf", -math.inf),
        ("~", None),
        ("", None),
        ("True", True),
        *[(text, text) for text in ("no", "on", "1:30", "1:30.5", "010", "0x1f", "1_000")],
        *[(text, text) for text in ("2001-01-01", "=", "<<", ".", "+", "9" * 5000, "0o7", "1e")],
    ],
)
def test_plain_words_are_those_of_the_core_schema_with_numbers_of_json(tmp_path, text, value):
    found = read_yaml(written(tmp_path, f"a: {text}"), dict[str, Any])["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "should hold YAML and does not"),
        ("a: &x [1]\nb: *x", "an alias in .*line 2.*; write its value"),
        ("a: 1\na: 2", "a key twice"),
        ("a: !!python/object/apply:os.getcwd []", "a tag.*line 1, column 4"),
        ("b: 1\na: !!bool x", "a tag.*line 2, column 4.*; write a value without one"),
        ('a: !!int ""', "a tag"),
        ("a: ! x", "a tag"),
        ("!!set {x}", "a tag"),
        ("? [1]\n: 2", "unhashable key"),
        ('a: "\\U99999999"', "should hold YAML and does not"),
        ('a: "\\ud800"', "surrogate"),
        ("- 1\n- 2", "Expected `object`, got `array`.*; correct it"),
        ("", "Expected `object`, got `null`"),
        ("[" * 2000, "should hold YAML and does not"),
        ("a: " + "x" * MOST_BYTES, "at most 262,144 bytes"),
        ("a: " + "1:" * 100_000 + "1\n- 3", "should hold YAML and does not"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path, content, said):
    with pytest.raises(DataError, match=said) as refused:
        read_yaml(written(tmp_path, content), dict[str, Any])
    assert len(str(refused.value)) < 600
