"""JSON and YAML files: read as values of a declared shape, or refused in one sentence.

This is the one boundary for JSON that others may have written or damaged: manifests, recipes, logs,
configurations of models. A reader declares the shape that it needs, and each value is compared with
its type. Fields that a shape does not name are ignored, so that a reader accepts what later
versions add. A digest or a name that passes cannot lead out of the directory that it is looked up
in: it has no `..`, no empty part, no leading slash, no backslash and no control character. JSON is
written atomically, for people to read too.

YAML is what people write, such as a recipe: plain values alone, of bounded size. Values are those
of YAML 1.2's core schema, with numbers as in JSON: `no` and `1:30` are text, and no date, no octal
number and no object of Python is built. Tags are refused, and so is a key that stands twice.
Aliases are refused because a few lines of them stand for gigabytes.
"""

import functools
import itertools
import json
import re
import textwrap
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, TypeVar

import msgspec
import yaml
from msgspec import Meta

from data.errors import DataError
from data.files import atomic
from data.files.paths import is_remote, read_at_most

EXACT = 2**53 - 1  # largest integer that every JSON reader keeps exactly (RFC 8259, section 6)
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]{1,200}"

Count = Annotated[int, Meta(ge=0, le=EXACT)]
"""Number of things: pages, tokens, bytes."""

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""SHA-256 in hexadecimal."""

Name = Annotated[str, Meta(pattern=rf"\A{_PART}\Z")]
"""Name of one file or directory, such as a language's code."""

RelativePath = Annotated[str, Meta(pattern=rf"\A{_PART}(?:/{_PART})*\Z", max_length=1000)]
"""Path below a directory, such as `sw/train-00000-of-00001`."""

Place = Annotated[str, Meta(pattern=r"\A[^\x00]+\Z")]
"""Path or address of a file of the user's, such as `s3://crawl/a.wet.gz`."""


Shape = TypeVar("Shape")
MOST_BYTES = 1 << 30  # mT5's corpus in shards of 256 MB has a manifest of 40 MB
# At once; one after another, 300,000 small files of a store would take hours. A disk's are parsed
# under one lock of Python, so that more threads gain nothing; a few wait for a shared disk.
STORE_READS, DISK_READS = 32, 4
DEEPEST = 100  # lists and objects in one another
LONGEST_REASON = 300  # characters of an error, which may quote the file
# A key of YAML may be half of a surrogate pair.
WRONG_SHAPE = (msgspec.ValidationError, UnicodeEncodeError, RecursionError)
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(path: str | Path, shape: type[Shape] | GenericAlias) -> Shape:
    """Returns the value of a JSON file, as a value of a shape.

    Raises:
        DataError: if the file does not hold JSON, or JSON of another shape.
    """
    content = read_at_most(path, MOST_BYTES)
    if content is None:
        raise DataError(
            f"{path} should hold JSON of at most {MOST_BYTES:,} bytes and is larger; restore it or "
            "remove the directory."
        )
    return decode_json(content, shape, str(path))


def read_in_order(paths: Iterable[str], shape: type[Shape] | GenericAlias) -> Iterator[Shape]:
    """Yields the values of JSON files in order; the next few are read meanwhile.

    Raises:
        DataError: if a file does not hold JSON, or JSON of another shape.
    """
    rest = iter(paths)
    first = next(rest, None)
    if first is None:
        return
    reads = STORE_READS if is_remote(first) else DISK_READS
    pool, rest = ThreadPoolExecutor(reads), itertools.chain([first], rest)

    def begin(count: int) -> list[Future[Shape]]:
        return [pool.submit(read_json, path, shape) for path in itertools.islice(rest, count)]

    try:
        ahead = deque(begin(reads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(begin(1))
    finally:  # without a wait, so that a signal ends the command
        pool.shutdown(wait=False, cancel_futures=True)


def decode_json(content: bytes, shape: type[Shape] | GenericAlias, place: str) -> Shape:
    """Returns the value of JSON text, which has the given shape.

    Args:
        content: the text in UTF-8.
        shape: type of the value, as msgspec reads it.
        place: where the text was found, for messages.

    Raises:
        DataError: if the text is not JSON, or JSON of another shape.
    """
    try:
        value = json.loads(content.decode("utf-8"))  # msgspec refuses Infinity, which recipes have
        _check_depth(value)
        if ESCAPED_SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()  # refuses half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise _refusal(place, error) from error
    try:
        return _convert(value, shape)
    except WRONG_SHAPE as error:
        raise _refusal(place, error) from error


def of_shape(value: Any, shape: type[Shape] | GenericAlias, place: str) -> Shape:
    """Returns a value of JSON or YAML as the given shape.

    Raises:
        DataError: if the value has another shape.
    """
    try:
        return _convert(value, shape)
    except WRONG_SHAPE as error:
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise DataError(
            f"{place} should have the expected fields and does not ({reason}); correct it, or "
            "restore it if mswitch wrote it."
        ) from error


def _check_depth(value: Any) -> None:
    """Checks that a value is not nested so deeply that a function on it would end in an error."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        contents = (value.values() if isinstance(value, dict) else value for value in level)
        parts = itertools.chain.from_iterable(contents)
        level = [part for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise RecursionError(f"it is nested more than {DEEPEST} deep")


def _convert(value: Any, shape: type[Shape] | GenericAlias) -> Shape:
    _prepare(shape)
    return msgspec.convert(value, shape, str_keys=True)  # JSON has no other keys


# Held while msgspec learns a type: a second thread reads its unfinished facts, and the process ends
# with SIGSEGV. docs/decisions/json-boundary.md has the program that shows it.
_learning = threading.Lock()


@functools.cache
def _prepare(shape: type | GenericAlias) -> None:
    """Has msgspec learn a type, in one thread at a time and before its first value is read."""
    with _learning:
        msgspec.json.Decoder(shape)


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON value atomically, indented for people."""
    atomic.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _refusal(place: str, error: Exception) -> DataError:
    reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
    return DataError(
        f"{place} should hold JSON with the expected fields and does not ({reason}); restore it or "
        "name another directory."
    )


YAML_BYTES = 1 << 18  # 120 times a recipe; PyYAML takes up to 5 s for them
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
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.YAMLError(f"a key twice{node.start_mark}; write it once")
        return mapping


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
    content = read_at_most(path, YAML_BYTES)
    if content is None:
        raise DataError(
            f"{path} should hold YAML of at most {YAML_BYTES:,} bytes and is larger; divide it."
        )
    try:
        value = yaml.load(content.decode("utf-8"), _PlainLoader)
        json.dumps(value, ensure_ascii=False).encode()  # refuses half of a surrogate pair
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        reason = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
        raise DataError(f"{path} should hold YAML and does not ({reason}); correct it.") from error
    return of_shape(value, shape, str(path))
