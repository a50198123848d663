"""The examples of a task: rows of its files as inputs and targets, per language and split.

Languages and splits are read from the names of the files (`{split}/{language}.tsv`). A field is any
part of a name without a slash, and the same wherever it stands. `*` is any such part that is not
kept. Arrow matches by RE2, in time that is linear in a name; Python's own `re` takes hours for
`*a*a*a*a*a.tsv`.

A row that makes no example is set aside and counted under a reason:

* that of the reader: `invalid_utf8`, `not_json`, `not_an_object`, `wrong_columns`, `truncated`, ...
* `no_FIELD`: a field of the input is missing or blank. `FIELD_is_no_text`: it is a list.
* `no_answers`: a question without an answer.
* `other_split`, `other_language`: a split that the description does not name, and a language that
  is not mC4's.
* `repeated_identity`: another row of this split and language has the same identity.

A target that is empty or no label is an error of the task, not of a row.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.files.paths import files_below, is_remote, join_path, local_copy
from data.languages import find
from data.reading.page import BrokenRecord
from data.tasks.description import (
    BadRow,
    Blank,
    Task,
    TemplatePart,
    as_text,
    find_task,
    parse_template,
    read_rows,
    text_of,
)

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


class TaskExample(NamedTuple):
    """One example of a task.

    Attributes:
        language: mC4's code.
        identity: what the example shares with those of other languages that say the same.
        input: text that the model reads.
        target: text that it should return.
        answers: all right answers; the target alone where the task has one.
        texts: values of the fields in input and target, without the templates' own words and
            without a label.
    """

    language: str
    identity: str
    input: str
    target: str
    answers: tuple[str, ...]
    texts: tuple[str, ...]


class TaskData(NamedTuple):
    """A task with its examples, ordered by language and then as in the files.

    Attributes:
        task: description of the task.
        train, development, test: examples of each split; empty where the task has no such split.
        set_aside: number of rows that make no example, by reason.
    """

    task: Task
    train: list[TaskExample]
    development: list[TaskExample]
    test: list[TaskExample]
    set_aside: dict[str, int]


def read_task(word: str) -> TaskData:
    """Returns a task with its examples.

    Args:
        word: `sib200=DIRECTORY` for a shipped description; otherwise the path of a description,
            whose data lies beside it.

    Raises:
        DataError: if the description is not well formed, a file lacks a field, a target is empty or
            no label, or a split has no example.
    """
    task, directory = find_task(word)
    return read_examples(task, directory)


def read_examples(task: Task, directory: str) -> TaskData:
    """Returns a task with its examples from a directory; see `read_task`."""
    reader = _Reader(task)
    for file in task_files(task, directory):
        reader.read(file)
    reader.check(directory)
    by_split = {
        split: sorted(examples, key=lambda example: example.language)
        for split, examples in reader.examples.items()
    }
    return TaskData(task, **by_split, set_aside=dict(sorted(reader.set_aside.items())))


def task_files(task: Task, directory: str) -> list[TaskFile]:
    """Returns the files of a task, pattern by pattern, ordered by name.

    Of files of one mC4 language the usual one comes first, because of rows with one identity the
    first counts: Persian before Dari, Bokmål before Nynorsk, the usual script before others.

    Raises:
        DataError: if a pattern matches no file.
    """
    names, files = list(_names(directory)), []
    for pattern in task.patterns:
        matches = [
            TaskFile(join_path(directory, name), pattern, fields)
            for name, fields in sorted(_matches(pattern, task, names), key=itemgetter(0))
        ]
        matches = _usual_first(matches)
        if not matches:
            raise DataError(
                f"Task {task.name} reads the files {pattern} and {directory} has none; check the "
                "directory, or `files` and `splits` of the description."
            )
        files += matches
    return files


def _usual_first(files: Sequence[TaskFile]) -> list[TaskFile]:
    """Returns files with those of one mC4 language together, by how usual their codes are."""
    places: dict[str, int] = {}
    keys = []
    for at, file in enumerate(files):
        name = file.fields.get("language", "").strip().lower()
        language = find(name)
        if language is None:
            keys.append((at, False, 0, at))
            continue
        rank = [code.lower() for code in language.names].index(name)
        other_script = file.fields.get("script", language.script) != language.script
        keys.append((places.setdefault(language.code, at), other_script, rank, at))
    return [files[at] for *_, at in sorted(keys)]


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
    parts = parse_template(pattern, "files").parts
    count = Counter(part.field for part in parts)
    stands_twice = any(count[field] > 1 for field in filter(None, count))
    lengths = range(1, LONGEST_NAME + 1) if stands_twice else ()
    left = names
    for size in ("+", *(f"{{{length}}}" for length in lengths)):
        matches = _groups(_expression(parts, task, count, size), left)
        tried, left = left, []
        for name, groups in zip(tried, matches, strict=True):
            values = [
                (part.field, groups[f"f{number}"])
                for number, part in enumerate(parts)
                if groups and part.field
            ]
            if groups is not None and len(set(values)) == len(dict(values)):
                yield name, dict(values)
            elif groups is not None or size != "+":
                left.append(name)


def _expression(
    parts: Sequence[TemplatePart], task: Task, count: Mapping[str | None, int], size: str
) -> str:
    """Returns the files that names match; `dev-pt-BR` is not the split `dev-pt`."""
    splits = "|".join(map(re.escape, sorted(task.splits.values(), key=len, reverse=True)))
    expression = ""
    for number, (literal, field) in enumerate(parts):
        expression += re.escape(literal).replace(r"\*", "[^/]*")
        if field is not None:
            is_split = (field, task.split) == ("split", "{split}")
            any_part = f"[^/]{size if count[field] > 1 else '+'}"
            expression += f"(?P<f{number}>{splits if is_split else any_part})"
    return expression


def _groups(expression: str, names: list[str]) -> list[dict[str, str] | None]:
    """Returns the named groups of each name that matches, and None for each other."""
    # A name that is not UTF-8 matches with question marks in the place of its bytes.
    searched = pa.array([name.encode(errors="replace").decode() for name in names], pa.string())
    options = pc.ExtractRegexOptions(rf"\A(?P<name>{expression})\z")
    return pc.call_function("extract_regex", [searched], options).to_pylist()


class _Reader:
    """Collects the examples of a task from its files."""

    def __init__(self, task: Task):
        self.task = task
        self.examples: dict[str, list[TaskExample]] = {"train": [], "development": [], "test": []}
        self.set_aside: Counter[str] = Counter()
        self.split_values: dict[str, None] = {}
        self.identities: set[tuple[str, str, str]] = set()
        self.input, self.target, self.split, self.language, self.identity = (
            parse_template(text, task.name)
            for text in (task.input, task.target, task.split, task.language, task.identity)
        )

    def read(self, file: TaskFile) -> None:
        """Adds the examples of a file."""
        named = file.fields if self.task.files else {"split": file.pattern, **file.fields}
        fields = [field for field in self.task.fields if field not in named]
        with local_copy(file.path) as path:
            for number, row in enumerate(read_rows(path, fields, file.path), 1):
                if isinstance(row, BrokenRecord):
                    self.set_aside[row.reason] += 1
                    continue
                try:
                    self._add({**row, **named}, f"{file.path}, row {number},")
                except BadRow as reason:
                    self.set_aside[str(reason)] += 1

    def check(self, directory: str) -> None:
        """Checks that each split of the description has an example."""
        for split, value in self.task.splits.items():
            if not self.examples[split]:
                values = ", ".join(self.split_values) or "none"
                aside = ", ".join(f"{n} {reason}" for reason, n in self.set_aside.items()) or "none"
                raise DataError(
                    f"Task {self.task.name} has {value!r} as its {split} split, of which "
                    f"{directory} has no example (splits found: {values}; rows set aside: "
                    f"{aside}); correct `splits` of the description, or the data."
                )

    def _add(self, row: dict[str, Any], place: str) -> None:
        value = self.split.fill(row)
        self.split_values[value] = None
        splits = [split for split, named in self.task.splits.items() if named == value]
        if not splits:
            raise BadRow("other_split")
        language = find(self.language.fill(row))
        if language is None:
            raise BadRow("other_language")
        answers = self._answers(row)
        target = self._target(row, answers, place)
        text = self.input.fill(row)
        for split in splits:
            identity = self._identity(row, split, language.code)
            texts = tuple(self._texts(row))
            self.examples[split].append(
                TaskExample(language.code, identity, text, target, answers or (target,), texts)
            )

    def _answers(self, row: dict[str, Any]) -> tuple[str, ...]:
        if not self.task.answers:
            return ()
        if self.task.answers not in row:
            raise BadRow(f"no_{self.task.answers}")
        value = row[self.task.answers]
        if isinstance(value, dict):  # SQuAD as Hugging Face has it: texts and their places
            value = value.get("text")
        if value in (None, "", []):  # False and 0 are answers
            raise BadRow("no_answers")
        answers = value if isinstance(value, list) else [value]
        return tuple(dict.fromkeys(as_text(answer, self.task.answers) for answer in answers))

    def _target(self, row: dict[str, Any], answers: tuple[str, ...], place: str) -> str:
        try:
            target = self.target.fill(row) if self.task.target else answers[0]
        except Blank:
            raise DataError(
                f"{place} should have a target by {self.task.target!r} and has an empty one; fill "
                "it, or remove the row."
            ) from None
        if self.task.labels and target not in self.task.labels:
            raise DataError(
                f"{place} has the target {target[:100]!r}, which is none of the labels "
                f"{', '.join(self.task.labels)}; correct the row, or `labels` of the description."
            )
        return target

    def _identity(self, row: dict[str, Any], split: str, code: str) -> str:
        if not self.task.identity:
            return f"{code}:{len(self.examples[split])}"
        identity = self.identity.fill(row)
        if (split, code, identity) in self.identities:
            raise BadRow("repeated_identity")
        self.identities.add((split, code, identity))
        return identity

    def _texts(self, row: dict[str, Any]) -> Iterator[str]:
        target = () if self.task.labels else self.target.fields
        for field in dict.fromkeys((*self.input.fields, *target)):
            yield text_of(row, field)
