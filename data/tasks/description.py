"""A task: a description in YAML or JSON, so that a new task needs no code, and rows of files.

    name: sib200
    files: "{language}.jsonl.gz"
    input: "topic: {text}"
    target: "{label}"
    metric: accuracy
    labels: [geography, health, politics, ...]
    splits: {train: train, development: dev, test: test}
    identity: "{index_id}"

A field in braces is a field of each row, or a part of the file's name. The other values of a
description are constants. Descriptions beside this file are shipped; data never is.

**Templates** are text with fields in braces. The syntax is that of `str.format` with names of
fields alone: no attributes, indices, conversions or formats, so a template runs no code. `{{` and
`}}` stand for braces. A field's value is inserted as it is, braces included, without the white
space around it.

**Rows.** The file's ending decides how it is read; gzip is recognized by its first bytes. A line of
JSON Lines or TSV that cannot be read is a `BrokenRecord` and does not end the job: a line has at
most 32 MB, a table at most 1,000 columns. A compressed file has at most 100,000 rows more than
bytes, so a few kilobytes do not fill the memory. Parquet and SQuAD's format are whole or refused.
Only JSON has lists.

A file in the format of SQuAD holds articles of paragraphs, each with a context and questions. Here
each question is a row of `id`, `title`, `context`, `question` and `answers`: its texts in order
without repeats. A question without an answer (SQuAD 2.0) has an empty list.
Source: Rajpurkar et al. 2016, arXiv 1606.05250; Lewis et al. 2020, arXiv 1910.07475.
"""

import dataclasses
import difflib
import posixpath
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
from msgspec import Meta

from data.errors import DataError, join_names
from data.files.json_files import Name, of_shape, read_json, read_yaml
from data.files.parquet_files import read_schema, read_table
from data.files.paths import local_copy
from data.languages import get
from data.reading import records
from data.reading.page import BrokenRecord

FORBIDDEN = re.compile(r"[.\[\]]")
MOST_COLUMNS = 1_000
FREE_ROWS = 100_000  # of any file, however small
SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet", ".json")
SHIPPED = Path(__file__).parent
DESCRIPTIONS = (".yaml", ".yml", ".json")
LONGEST_PATTERN, MOST_FIELDS = 500, 16  # of files; what matches is searched in their product
TEMPLATES = ("input", "target", "split", "language", "identity")
Row = dict[str, Any] | BrokenRecord
Split = Literal["train", "development", "test"]
Metric = Literal["accuracy", "f1", "squad_f1", "chrf"]


class BadRow(ValueError):
    """A row that makes no example; its text is the reason under which it is counted."""


class Blank(BadRow):
    """A row whose field is null or without text."""


class TemplatePart(NamedTuple):
    """A piece of a template: literal text, then the value of a field unless that is None."""

    literal: str
    field: str | None


class Template(NamedTuple):
    """A template in parts."""

    parts: tuple[TemplatePart, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once."""
        return tuple(dict.fromkeys(part.field for part in self.parts if part.field is not None))

    def fill(self, row: Mapping[str, Any]) -> str:
        """Returns the text with the values of a row.

        Raises:
            BadRow: if a field is missing, or its value is not text.
        """
        return "".join(
            part.literal + ("" if part.field is None else text_of(row, part.field))
            for part in self.parts
        )


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
        named = [parse_template(getattr(self, name), name).fields for name in TEMPLATES]
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
            return _read_description(path), posixpath.dirname(word) or "."
    name, _, directory = word.partition("=")
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name not in shipped or not directory:
        raise DataError(
            f"A task is a description (FILE.yaml, FILE.json) or a shipped one with its data "
            f"({'=DIR, '.join(shipped)}=DIR), and {word!r} is neither; name one of them."
        )
    return _read_description(SHIPPED / f"{name}.yaml"), directory


def _read_description(path: Path) -> Task:
    read = read_json if path.suffix == ".json" else read_yaml
    try:
        return task_of(read(path, dict[str, Any]), str(path))
    except FileNotFoundError:
        raise DataError(f"The description {path} does not exist; check its path.") from None


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
                f"{place} has the field {join_names([name])!r}, which is not a field of a "
                f"task; {offer}"
            )
    task = of_shape(value, Task, place)
    _check_templates(task, place)
    _check_files(task, place)
    _check_targets(task, place)
    return task


def _check_templates(task: Task, place: str) -> None:
    for name in TEMPLATES:
        template = parse_template(getattr(task, name), f"{place}: {name}")
        if name == "input" and not template.fields:
            raise DataError(
                f"{place}: input should name a field in braces and is "
                f"{join_names([task.input])!r}, which is the same for all rows; name a field."
            )
        if name == "language" and not template.fields:
            get(task.language)


def _check_files(task: Task, place: str) -> None:
    for pattern in task.patterns:
        named = parse_template(pattern, f"{place}: files").fields
        is_below = not pattern.startswith("/") and ".." not in pattern
        is_short = len(pattern) <= LONGEST_PATTERN and len(named) <= MOST_FIELDS
        is_named = pattern.endswith(SUFFIXES) and all(map(str.isidentifier, named))
        if not (is_below and is_short and is_named):
            raise DataError(
                f"{place}: files should be patterns below the data's directory that end in "
                f"{', '.join(SUFFIXES)}, of at most {LONGEST_PATTERN} characters and {MOST_FIELDS} "
                f"fields, and {join_names([pattern])!r} is not; correct it."
            )


def _check_targets(task: Task, place: str) -> None:
    if not task.target and not task.answers:
        raise DataError(f"{place} has neither target nor answers; name the field of the target.")
    if task.labels and task.metric != "accuracy":
        raise DataError(
            f"{place}: metric was {task.metric} with labels, which are scored by likelihood; set "
            "metric to accuracy, or leave the labels out."
        )
    are_words = all(label and label == label.strip() for label in task.labels)
    if len(set(task.labels)) < len(task.labels) or not are_words:
        raise DataError(
            f"{place}: labels should be different words without outer white space; correct them."
        )


def parse_template(text: str, place: str) -> Template:
    """Returns a template in parts.

    Args:
        text: the template.
        place: where it stands, for messages.

    Raises:
        DataError: if it holds anything but text and names of fields.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise _refusal(text, place, str(error)) from error
    for _, field, form, conversion in parts:
        if field is not None and (form or conversion or not field or FORBIDDEN.search(field)):
            raise _refusal(text, place, f"{field!r} is not a name alone")
    return Template(tuple(TemplatePart(literal, field) for literal, field, _, _ in parts))


def _refusal(text: str, place: str, reason: str) -> DataError:
    return DataError(
        f"{place} should be text with names of fields in braces and is {join_names([repr(text)])} "
        f"({join_names([reason])}); write for example 'topic: {{text}}', and '{{{{' for a brace."
    )


def text_of(row: Mapping[str, Any], field: str) -> str:
    """Returns the value of a field as text.

    Raises:
        BadRow: if the field is missing, or its value is not text.
    """
    if field not in row:
        raise BadRow(f"no_{field}")
    return as_text(row[field], field)


def as_text(value: Any, field: str) -> str:
    """Returns a value as text, without the white space around it.

    Args:
        value: value of any type.
        field: name of its field, for the reason.

    Raises:
        Blank: if nothing is left.
        BadRow: if it is a list or an object, or not valid Unicode.
    """
    if value is not None and not isinstance(value, str | int | float):
        raise BadRow(f"{field}_is_no_text")
    text = "" if value is None else str(value).strip()
    if not text:
        raise Blank(f"no_{field}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow("invalid_utf8") from None
    return text


def read_rows(path: Path, fields: Iterable[str], name: str) -> Iterator[Row]:
    """Yields the rows of a file, in order, with these fields alone where they have them.

    Args:
        path: the file.
        fields: names of the fields that are read.
        name: name of the file in messages.

    Raises:
        DataError: if no row has one of the fields, or the file cannot be read at all.
    """
    wanted, seen = tuple(fields), {}
    most = FREE_ROWS + path.stat().st_size
    for number, row in enumerate(_rows(path, wanted, name)):
        if number == most:
            raise DataError(
                f"{name} should have at most {most:,} rows by its size and has more; divide it, or "
                "write it without compression."
            )
        if isinstance(row, dict):
            if len(seen) < MOST_COLUMNS:  # rows of JSON may have a field each
                seen.update(dict.fromkeys(row))
            row = {field: row[field] for field in wanted if field in row}
            seen.update(dict.fromkeys(row))
        yield row
    if seen:
        _check_fields(wanted, seen, name)


def _rows(path: Path, fields: tuple[str, ...], name: str) -> Iterator[Row]:
    if path.suffix == ".parquet":
        return _parquet(path, fields, name)
    if path.suffix == ".json":
        return read_squad(path)
    is_table = ".tsv" in path.suffixes[-2:]
    return _tsv(path, name) if is_table else _json_lines(path)


def _json_lines(path: Path) -> Iterator[Row]:
    for row in records.values(path):
        if isinstance(row, BrokenRecord):
            yield row
        elif isinstance(row.value, dict):
            yield row.value
        else:
            yield BrokenRecord.at(path, row.offset, "not_an_object")


def _tsv(path: Path, name: str) -> Iterator[Row]:
    """Yields the rows below the header; quotes are text, as in the published tables of XNLI."""
    header: list[str] | None = None
    for line in records.read_lines(path):
        if isinstance(line, BrokenRecord):
            yield line
            continue
        columns = line.content.count(b"\t") + 1
        if header is None and columns > MOST_COLUMNS:
            raise DataError(
                f"{name} should have at most {MOST_COLUMNS:,} columns and begins with {columns:,}; "
                "leave out those that the task does not read."
            )
        if header is not None and columns != len(header):
            yield BrokenRecord.at(path, line.offset, "wrong_columns", f"{columns} columns")
            continue
        try:
            cells = line.content.decode("utf-8-sig").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            yield BrokenRecord.at(path, line.offset, "invalid_utf8", str(error))
            continue
        if header is None:
            header = cells
            if len(set(header)) < len(header):
                raise DataError(
                    f"{name} should begin with a line of column names, each once, and begins with "
                    f"{', '.join(header)[:200]!r}; add a header."
                )
        else:
            yield dict(zip(header, cells, strict=True))


def _parquet(path: Path, fields: tuple[str, ...], name: str) -> Iterator[Row]:
    columns = read_schema(path, name)
    _check_fields(fields, columns.names, name)
    schema = pa.schema([(field, _plain_type(columns, field, name)) for field in fields])
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    table = read_table(path, schema, texts)
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _plain_type(schema: pa.Schema, field: str, name: str) -> pa.DataType:
    """Returns the type of a column of texts or numbers.

    Raises:
        DataError: if the column has another type. Lists have no bound on what they decode to.
    """
    kind = schema.field(field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return kind
    raise DataError(
        f"{name} should have texts or numbers in the column {field} and has {kind}; write it as "
        "JSON Lines, where a field may be a list."
    )


def _check_fields(fields: Iterable[str], names: Iterable[str], name: str) -> None:
    names = tuple(names)
    for field in fields:
        if names.count(field) != 1:
            once = " once" if field in names else ""
            raise DataError(
                f"{name} should have the field {field!r}{once} and has {join_names(names)}; "
                "correct the description, or the file."
            )


@dataclass(frozen=True)
class _Answer:
    text: str


@dataclass(frozen=True)
class _Question:
    id: str
    question: str
    answers: list[_Answer] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class _Paragraph:
    context: str
    qas: list[_Question]


@dataclass(frozen=True)
class _Article:
    paragraphs: list[_Paragraph]
    title: str = ""


@dataclass(frozen=True)
class _Squad:
    data: list[_Article]


def read_squad(path: Path) -> Iterator[dict[str, Any]]:
    """Yields one row per question.

    Raises:
        DataError: if the file has another format.
    """
    for article in read_json(path, _Squad).data:
        for paragraph in article.paragraphs:
            for question in paragraph.qas:
                yield {
                    "id": question.id,
                    "title": article.title,
                    "context": paragraph.context,
                    "question": question.question,
                    "answers": list(dict.fromkeys(answer.text for answer in question.answers)),
                }
