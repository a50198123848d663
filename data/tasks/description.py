"""Descriptions of tasks: files in YAML or JSON, so that a new task needs no code.

    name: sib200
    files: "{language}.jsonl.gz"
    input: "topic: {text}"
    target: "{label}"
    metric: accuracy
    labels: [geography, health, politics, ...]
    splits: {train: train, development: dev, test: test}
    identity: "{index_id}"

A field in braces is a field of each row, or a part of the file's name (`patterns`). The other
values of a description are constants. Descriptions beside this file are shipped; data never is.
"""

import difflib
import posixpath
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from data.errors import DataError
from data.languages import get
from data.stores.files import local_copy
from data.stores.json_files import of_shape, read_json
from data.stores.json_shapes import Name
from data.stores.yaml_files import read_yaml
from data.tasks.file_rows import SUFFIXES
from data.tasks.templates import parsed

Split = Literal["train", "development", "test"]
Metric = Literal["accuracy", "f1", "squad_f1", "chrf"]
SHIPPED = Path(__file__).parent
DESCRIPTIONS = (".yaml", ".yml", ".json")
LONGEST_PATTERN, MOST_FIELDS = 500, 16  # of files; what matches is searched in their product
TEMPLATES = ("input", "target", "split", "language", "identity")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, as its description states it.

    Attributes:
        name: name of the task in tables and reports.
        input: template of the model's input.
        target: template of the text that the model should return; "" for the first of the answers.
        metric: score of the task.
        splits: value of `split` in each split; at least one.
        files: pattern of the files, relative to the data's directory; "" where the values of
            `splits` are patterns themselves.
        labels: all possible targets of a classification; empty for free text.
        answers: name of the field with the list of right answers; "" where only the target is.
        split: template whose value decides a row's split.
        language: template of the language, as code or alias; a constant for one language.
        identity: template of what parallel sentences of several languages share; "" where no two
            rows do.
    """

    name: Name
    input: str
    target: str = ""
    metric: Metric
    splits: Annotated[dict[Split, str], Meta(min_length=1)]
    files: str = ""
    labels: tuple[str, ...] = ()
    answers: str = ""
    split: str = "{split}"
    language: str = "{language}"
    identity: str = ""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the files, each once."""
        return (self.files,) if self.files else tuple(dict.fromkeys(self.splits.values()))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all fields that the task reads, each once."""
        named = [parsed(getattr(self, name), name).fields for name in TEMPLATES]
        return tuple(dict.fromkeys([*sum(named, ()), *filter(None, [self.answers])]))


def find_task(word: str) -> tuple[Task, str]:
    """Returns a task, and the directory of its data.

    Args:
        word: `NAME=DIRECTORY` for a shipped description; otherwise the path of a description, whose
            data lies beside it.

    Raises:
        DataError: if there is no such description, or it is not well formed.
    """
    if word.endswith(DESCRIPTIONS):
        with local_copy(word) as path:
            return _read(path), posixpath.dirname(word) or "."
    name, _, directory = word.partition("=")
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name not in shipped or not directory:
        raise DataError(
            f"A task is a description (FILE.yaml, FILE.json) or a shipped one with its data "
            f"({'=DIR, '.join(shipped)}=DIR), and {word!r} is neither; name one of them."
        )
    return _read(SHIPPED / f"{name}.yaml"), directory


def task_of(value: dict[str, Any], place: str) -> Task:
    """Returns the task that a description states.

    Args:
        value: the description.
        place: where it was found, for messages.

    Raises:
        DataError: if a field is unknown, missing or wrong.
    """
    known = [field.name for field in fields(Task)]
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            offer = f"did you mean {near[0]!r}?" if near else f"a task has {', '.join(known)}."
            raise DataError(
                f"{place} has the field {name!r}, which is not a field of a task; {offer}"
            )
    task = of_shape(value, Task, place)
    _check_templates(task, place)
    _check_files(task, place)
    _check_targets(task, place)
    return task


def _read(path: Path) -> Task:
    read = read_json if path.suffix == ".json" else read_yaml
    try:
        return task_of(read(path, dict[str, Any]), str(path))
    except FileNotFoundError:
        raise DataError(f"The description {path} does not exist; check its path.") from None


def _check_templates(task: Task, place: str) -> None:
    for name in TEMPLATES:
        template = parsed(getattr(task, name), f"{place}: {name}")
        if name == "input" and not template.fields:
            raise DataError(
                f"{place}: input should name a field in braces and is {task.input!r}, which is the "
                "same for all rows; name a field."
            )
        if name == "language" and not template.fields:
            get(task.language)


def _check_files(task: Task, place: str) -> None:
    for pattern in task.patterns:
        named = parsed(pattern, f"{place}: files").fields
        is_below = not pattern.startswith("/") and ".." not in pattern
        is_short = len(pattern) <= LONGEST_PATTERN and len(named) <= MOST_FIELDS
        is_named = pattern.endswith(SUFFIXES) and all(map(str.isidentifier, named))
        if not (is_below and is_short and is_named):
            raise DataError(
                f"{place}: files should be patterns below the data's directory that end in "
                f"{', '.join(SUFFIXES)}, of at most {LONGEST_PATTERN} characters and {MOST_FIELDS} "
                f"fields, and {pattern!r} is not; correct it."
            )


def _check_targets(task: Task, place: str) -> None:
    if not task.target and not task.answers:
        raise DataError(f"{place} has neither target nor answers; name the field of the target.")
    if task.labels and task.metric != "accuracy":
        raise DataError(
            f"{place}: metric was {task.metric} with labels, which are scored by likelihood; set "
            "metric to accuracy, or leave the labels out."
        )
    if len(set(task.labels)) < len(task.labels) or any(
        not one or one != one.strip() for one in task.labels
    ):
        raise DataError(
            f"{place}: labels should be different words without outer white space; correct them."
        )
