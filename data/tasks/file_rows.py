"""Reads the rows of a task's file: JSON Lines, TSV, Parquet, or JSON in the format of SQuAD.

The file's ending decides how it is read; gzip is recognized by its first bytes. A line that cannot
be read is a `BrokenRecord` and does not end the job, as elsewhere: a line has at most 32 MB
(`text_lines`), a table at most 1,000 columns. A compressed file has at most 100,000 rows more than
bytes, so a few kilobytes do not fill the memory. Parquet and SQuAD's format are whole or refused.
Only JSON has lists.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import DataError
from data.reading import json_lines, text_lines
from data.reading.page import BrokenRecord
from data.stores.parquet_files import read_schema, read_table
from data.tasks import squad

Row = dict[str, Any] | BrokenRecord
MOST_COLUMNS = 1_000
FREE_ROWS = 100_000  # of any file, however small
SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet", ".json")


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
        _check(wanted, seen, name)


def _rows(path: Path, fields: tuple[str, ...], name: str) -> Iterator[Row]:
    if path.suffix == ".parquet":
        return _parquet(path, fields, name)
    if path.suffix == ".json":
        return squad.read(path)
    is_table = ".tsv" in path.suffixes[-2:]
    return _tsv(path, name) if is_table else _json_lines(path)


def _json_lines(path: Path) -> Iterator[Row]:
    for found in json_lines.values(path):
        if isinstance(found, BrokenRecord) or isinstance(found.value, dict):
            yield found if isinstance(found, BrokenRecord) else found.value
        else:
            yield BrokenRecord.at(path, found.offset, "not_an_object")


def _tsv(path: Path, name: str) -> Iterator[Row]:
    """Yields the rows below the header; quotes are text, as in the published tables of XNLI."""
    header: list[str] | None = None
    for line in text_lines.read(path):
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
    there = read_schema(path, name)
    _check(fields, there.names, name)
    schema = pa.schema([(field, _plain(there, field, name)) for field in fields])
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    table = read_table(path, schema, texts)
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _plain(schema: pa.Schema, field: str, name: str) -> pa.DataType:
    """Returns the type of a column of texts or numbers.

    Raises:
        DataError: if the column has another type. Lists have no bound on what they decode to.
    """
    found = schema.field(field).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        return pa.string()
    if pa.types.is_boolean(found) or pa.types.is_integer(found) or pa.types.is_floating(found):
        return found
    raise DataError(
        f"{name} should have texts or numbers in the column {field} and has {found}; write it as "
        "JSON Lines, where a field may be a list."
    )


def _check(fields: Iterable[str], found: Iterable[str], name: str) -> None:
    found = tuple(found)
    for field in fields:
        if field not in found:
            raise DataError(
                f"{name} should have the field {field!r} and has {', '.join(found)}; correct the "
                "description, or the file."
            )
