"""YAML files that people write, such as a recipe: plain values alone, of bounded size.

Values are those of YAML 1.2's core schema, with numbers as in JSON: `no` and `1:30` are text, and
no date, no octal number and no object of Python is built. Tags are refused, and so is a key that
stands twice. Aliases are refused because a few lines of them stand for gigabytes.
"""

import json
import re
import textwrap
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar

import yaml

from data.errors import DataError
from data.stores.files import read_at_most
from data.stores.json_files import LONGEST_REASON, of_shape

Shape = TypeVar("Shape")
MOST_BYTES = 1 << 18  # 120 times a recipe; PyYAML takes up to 5 s for them
PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:0|[1-9][0-9]{0,18})",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias{event.start_mark}; write its value")
        if event.tag is not None:
            raise yaml.YAMLError(f"a tag{event.start_mark}; write a value without one")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError(f"a key twice{node.start_mark}; write it once")
        return found


_PlainLoader.yaml_implicit_resolvers = {  # in place of those of YAML 1.1
    None: [
        (f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"))
        for name, pattern in PLAIN.items()
    ]
}


def read_yaml(path: Path, shape: type[Shape] | GenericAlias) -> Shape:
    """Returns the value of a YAML file, which has the given shape.

    Raises:
        DataError: if the file is too large, or does not hold YAML of this shape.
    """
    content = read_at_most(path, MOST_BYTES)
    if content is None:
        raise DataError(
            f"{path} should hold YAML of at most {MOST_BYTES:,} bytes and is larger; divide it."
        )
    try:
        value = yaml.load(content.decode("utf-8"), _PlainLoader)
        json.dumps(value, ensure_ascii=False).encode()  # refuses half of a surrogate pair
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise DataError(f"{path} should hold YAML and does not ({reason}); correct it.") from error
    return of_shape(value, shape, str(path))
