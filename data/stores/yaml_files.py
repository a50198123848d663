"""YAML files that people write, such as a recipe: plain values alone, of bounded size.

Only plain values are built, never objects of Python. Aliases are refused, because a few lines
of them stand for gigabytes, and so is a key that stands twice.
"""

import re
import textwrap
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar

import yaml

from data.errors import DataError
from data.stores.json_files import LONGEST_REASON, of_shape

Shape = TypeVar("Shape")
MOST_BYTES = 1 << 20  # 500 times a recipe


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias{self.peek_event().start_mark}; write its value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError(f"a key twice{node.start_mark}; write it once")
        return found


# 1e-3 is a number to everyone but YAML 1.1, which asks for a point.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def read_yaml(path: Path, shape: type[Shape] | GenericAlias) -> Shape:
    """Returns the value of a YAML file, which has the given shape.

    Raises:
        DataError: if the file is too large, or does not hold YAML of this shape.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{path} should hold YAML of at most {MOST_BYTES:,} bytes and is larger; divide it."
        )
    try:
        value = yaml.load(content.decode("utf-8"), _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise DataError(f"{path} should hold YAML and does not ({reason}); correct it.") from error
    return of_shape(value, shape, str(path))
