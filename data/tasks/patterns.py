"""Patterns of file names whose fields are read from the names: `{split}/{language}.tsv`.

A field is any part of a name without a slash, and the same wherever it stands. `*` is any such
part that is not kept.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.errors import DataError
from data.stores.files import files_below, is_remote, join_path
from data.tasks.description import Task
from data.tasks.templates import parsed


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
        expression = _expression(pattern, task)
        matches = [(name, match) for name in names if (match := expression.fullmatch(name))]
        if not matches:
            raise DataError(
                f"Task {task.name} reads the files {pattern} and {directory} has none; check the "
                "directory, or `files` and `splits` of the description."
            )
        found += [
            TaskFile(join_path(directory, name), pattern, match.groupdict())
            for name, match in matches
        ]
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


def _expression(pattern: str, task: Task) -> re.Pattern[str]:
    """Returns what names match; a split is one that the task names: `dev-pt-BR` is not `dev-pt`."""
    parts, seen = [], set[str]()
    splits = "|".join(map(re.escape, sorted(task.splits.values(), key=len, reverse=True)))
    for literal, field in parsed(pattern, "files").parts:
        parts.append(re.escape(literal).replace(r"\*", "[^/]*"))
        if field in seen:
            parts.append(f"(?P={field})")
        elif field is not None:
            seen.add(field)
            one_of = splits if (field, task.split) == ("split", "{split}") else "[^/]+"
            parts.append(f"(?P<{field}>{one_of})")
    return re.compile("".join(parts))
