"""The texts of a benchmark's files, in whatever of the usual formats they are published.

* JSON Lines, plain or gzipped, one value per line: every string of each row, however deep.
* Parquet: every string of each row, as in JSON.
* TSV: every cell.
* Descriptions of tasks, as `mswitch finetune --task` reads them: the texts of their development and
  test examples. A benchmark's training examples may be learned from.
* Every other file: each line.

Rows that cannot be read are skipped, as nothing of them can be looked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.reading import json_lines, text_lines
from data.reading.page import BrokenRecord
from data.stores.digests import digest_of_contents, digest_of_value
from data.stores.files import absolute, exists, local_copy
from data.stores.parquet_files import read_columns
from data.tasks.description import DESCRIPTIONS
from data.tasks.examples import read_task

JSON_LINES, PARQUET, TSV = (".jsonl", ".jsonl.gz", ".json.gz"), ".parquet", (".tsv", ".tsv.gz")


def name_of(path: str, parts: int = 1) -> str:
    """Returns the name of a benchmark: of its task, or the last parts of its path."""
    if _is_shipped(path):
        return path.partition("=")[0]
    return "/".join(path.rstrip("/").split("/")[-parts:])


def is_task(path: str) -> bool:
    """Returns whether this names a task instead of a file: a description, or NAME=DIRECTORY."""
    return path.endswith(DESCRIPTIONS) or _is_shipped(path)


def absolute_place(path: str) -> str:
    """Returns a benchmark's path, or the NAME=DIRECTORY of a task, as every process resolves it."""
    if not _is_shipped(path):
        return absolute(path)
    name, _, directory = path.partition("=")
    return f"{name}={absolute(directory)}"


def digest_of(path: str) -> str:
    """Returns a digest of a benchmark: of a file's bytes, or of the texts of a task.

    Raises:
        DataError: if there is no such file, or a task cannot be read.
    """
    if is_task(path):
        return digest_of_value(list(texts_of(path)))
    _check_exists(path)
    return digest_of_contents(path)


def _check_exists(path: str) -> None:
    if not exists(path):
        raise DataError(f"The benchmark {path} does not exist; check its path.")


def _is_shipped(path: str) -> bool:
    return "=" in path and not path.endswith(DESCRIPTIONS) and not exists(path)


def texts_of(path: str) -> Iterator[str]:
    """Yields the texts of a benchmark.

    Args:
        path: path or address of a file, or a task as `data.tasks.description.find_task` takes it.

    Raises:
        DataError: if the file does not exist, is not Parquet or JSON Lines, or the description is
            wrong.
    """
    if is_task(path):
        data = read_task(path)
        for example in (*data.development, *data.test):
            yield from example.texts
    else:
        _check_exists(path)
        with local_copy(path) as here:
            yield from _of_file(here, path)


def _of_file(path: Path, name: str) -> Iterator[str]:
    if name.endswith(PARQUET):
        for batch in read_columns(path, name):
            yield from strings(batch.to_pylist())
    elif name.endswith(JSON_LINES):
        yield from _of_json_lines(path, name)
    else:
        for line in text_lines.read(path):
            if not isinstance(line, BrokenRecord):
                text = line.content.decode("utf-8-sig", "replace").rstrip("\r\n")
                yield from text.split("\t") if name.endswith(TSV) else [text]


def _of_json_lines(path: Path, name: str) -> Iterator[str]:
    for number, found in enumerate(json_lines.values(path)):
        if not isinstance(found, BrokenRecord):
            yield from strings(found.value)
        elif number == 0:  # the last lines of an indented value may be values of their own
            raise DataError(
                f"The first line of the benchmark {name} is not a JSON value; write one per line."
            )


def strings(value: Any) -> Iterator[str]:
    """Yields the strings of a JSON value, in order, without the names of fields."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            stack.extend(reversed(one.values()))
        elif isinstance(one, list):
            stack.extend(reversed(one))
