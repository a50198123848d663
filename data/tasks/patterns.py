"""Patterns of file names whose fields are read from the names: `{split}/{language}.tsv`.

A field is any part of a name without a slash, and the same wherever it stands. `*` is any such
part that is not kept. Arrow matches by RE2, in time that is linear in a name; Python's own `re`
takes hours for `*a*a*a*a*a.tsv`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.stores.files import files_below, is_remote, join_path
from data.tasks.description import Task
from data.tasks.templates import Part, parsed

LONGEST_NAME = 255  # characters of a part of a path


class TaskFile(NamedTuple):
    """A file of a task.

    Attributes:
        path: path or address of the file.
        pattern: the pattern that it matches.
        fields: value of each field in its name.
    """

    path: str
    pattern: str
    fields: dict[str, str]


def task_files(task: Task, directory: str) -> list[TaskFile]:
    """Returns the files of a task, pattern by pattern, ordered by name.

    Raises:
        DataError: if a pattern matches no file.
    """
    names, found = list(_names(directory)), []
    for pattern in task.patterns:
        matches = [
            TaskFile(join_path(directory, name), pattern, fields)
            for name, fields in sorted(_matches(pattern, task, names), key=itemgetter(0))
        ]
        if not matches:
            raise DataError(
                f"Task {task.name} reads the files {pattern} and {directory} has none; check the "
                "directory, or `files` and `splits` of the description."
            )
        found += matches
    return found


def _names(directory: str) -> Iterator[str]:
    """Yields the names of all files below a directory, relative to it and sorted."""
    if is_remote(directory):
        root = directory.rstrip("/") + "/"
        yield from (file.path.removeprefix(root) for file in files_below(directory))
    else:
        root = Path(directory)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        yield from (path.relative_to(root).as_posix() for path in paths)


def _matches(pattern: str, task: Task, names: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the names that match, each with the fields in it.

    RE2 has no references to what matched before. A field that stands twice is first as long as it
    can be. Where the two differ, all lengths are tried: in `ru-Latn-ru-Latn` it has seven letters.
    """
    parts = parsed(pattern, "files").parts
    count = Counter(part.field for part in parts)
    more = (
        range(1, LONGEST_NAME + 1) if any(count[field] > 1 for field in filter(None, count)) else ()
    )
    left = names
    for size in ("+", *(f"{{{length}}}" for length in more)):
        found = _groups(_expression(parts, task, count, size), left)
        tried, left = left, []
        for name, groups in zip(tried, found, strict=True):
            values = [
                (p.field, groups[f"f{at}"]) for at, p in enumerate(parts) if groups and p.field
            ]
            if groups is not None and len(set(values)) == len(dict(values)):
                yield name, dict(values)
            elif groups is not None or size != "+":
                left.append(name)


def _expression(
    parts: Sequence[Part], task: Task, count: Mapping[str | None, int], size: str
) -> str:
    """Returns what names match; a split is one that the task names: `dev-pt-BR` is not `dev-pt`."""
    splits = "|".join(map(re.escape, sorted(task.splits.values(), key=len, reverse=True)))
    expression = ""
    for at, (literal, field) in enumerate(parts):
        expression += re.escape(literal).replace(r"\*", "[^/]*")
        if field is not None:
            is_split = (field, task.split) == ("split", "{split}")
            any_part = f"[^/]{size if count[field] > 1 else '+'}"
            expression += f"(?P<f{at}>{splits if is_split else any_part})"
    return expression


def _groups(expression: str, names: list[str]) -> list[dict[str, str] | None]:
    """Returns the named groups of each name that matches, and None for each other."""
    # A name that is not UTF-8 matches with question marks in the place of its bytes.
    searched = pa.array([name.encode(errors="replace").decode() for name in names], pa.string())
    options = pc.ExtractRegexOptions(rf"\A(?P<name>{expression})\z")
    return pc.call_function("extract_regex", [searched], options).to_pylist()
