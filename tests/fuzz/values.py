"""Mutations of values: files that are valid, and in which some values are of another type, size or
number than their reader expects; drawn from one generator.
"""

import io
import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

DEEP: Any = 1
for _ in range(120):
    DEEP = [DEEP]
TEXTS = (
    "", "x", "..", "/etc/passwd", "a/../b", "\x00", "\u202e[red]", "\ud800", "NaN", "9" * 400,
    "x" * 5000, "a\nb", "0.95", "sw", "0" * 64, "train",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308,
    5e-324, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
VALUES = (None, True, False, *TEXTS, *NUMBERS, [], {}, [None], [[]], {"": None}, {"a": [1]}, DEEP)


def changed(value: Any, draw: random.Random) -> Any:
    """Returns a JSON value with one change: of a value, a name, or the length of a list."""
    if isinstance(value, dict | list) and value and draw.random() < 0.95:
        copied = value.copy()
        key = draw.choice([*value]) if isinstance(value, dict) else draw.randrange(len(value))
        kind = draw.random()
        if kind < 0.85:
            copied[key] = changed(value[key], draw)
        elif kind < 0.93:
            del copied[key]
        elif isinstance(copied, dict):
            copied[draw.choice(TEXTS)] = copied.pop(key)
        else:
            copied *= draw.choice((2, 50))
        return copied
    if isinstance(value, int | float) and draw.random() < 0.3:
        return draw.choice((value + 1, value - 1, -value, str(value), 2 * value))
    return draw.choice(VALUES)


def json_values(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a JSON file with one to four changes, and sometimes with a name twice."""
    value = json.loads(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        value = changed(value, draw)
    lines = json.dumps(value, indent=1).split("\n")
    if draw.random() < 0.05:
        at = draw.randrange(len(lines))
        lines.insert(at, lines[at])
    return "\n".join(lines).encode()


def json_lines_values(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a file of JSON lines in which one to four lines have a change."""
    lines = draw.choice(seeds).splitlines()
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(changed(json.loads(lines[at]), draw)).encode()
    return b"\n".join([*lines, b""])


WORD = re.compile(r"[\w.]+")
WORDS = (
    "!!bool x", '!!int ""', "!!float x", "!!null x", "!!timestamp x", "!!binary x", "!!set {a}",
    "!!omap [a]", "!!python/object/apply:os.system [x]", "!tag x", "! x", "!!str", "!<tag:x,y> z",
    "1:30", "190:20:30.15", ":".join(["59"] * 2000), "0o17", "0x1F", "0b1", "1_000", "010",
    "&a [*a]", "*a", "&a x", "<<: {a: 1}", "? [a]", "? {a: 1} : 2", "[a]: 1", "{a: {b: [c]}}",
    "[" * 300, "{a: " * 300, "- " * 300, "| \n  a\n b", ">-", "%TAG ! x", "---\n", "...\n", "@x",
    "2026-01-01", "2026-13-01T99:00:00Z", "~", "yes", "NULL", "=", ".nan", "-.inf", "1e999",
    "9" * 19, "9" * 5000, "-0", '"\\ud800"', '"\\x00"', "\t", "#", "'", "\u2028", "a: b: c",
)  # fmt: skip


def yaml_values(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a YAML file of changed values, or with tags, other numbers or anchors in it."""
    text = draw.choice(seeds).decode()
    if draw.random() < 0.4:
        text = yaml.safe_dump(changed(yaml.safe_load(text), draw), sort_keys=False)
        if draw.random() < 0.5:
            return text.encode()
    for _ in range(draw.choice((1, 1, 2, 4))):
        if words := [*WORD.finditer(text)]:
            word = draw.choice(words)
            text = text[: word.start()] + draw.choice(WORDS) + text[word.end() :]
    return text.encode()


COLUMNS: tuple[tuple[Any, pa.DataType], ...] = (
    (None, pa.null()), (None, pa.string()), (None, pa.float64()), (None, pa.int64()),
    *((number, pa.float64()) for number in NUMBERS if isinstance(number, float)),
    (float("nan"), pa.float16()), (2**63, pa.uint64()), (-(2**63), pa.int64()), (-1, pa.int8()),
    (2**31, pa.int64()), (0, pa.uint32()), (True, pa.bool_()), ("", pa.string()),
    ("x" * 5000, pa.large_string()), ("a\x00\u202e", pa.string()), (b"\xff\xfe", pa.binary()),
    ("sw", pa.dictionary(pa.int8(), pa.string())), (b"0" * 16, pa.binary(16)),
    (["a", "b"], pa.list_(pa.string())), ([], pa.list_(pa.string())), ([], pa.list_(pa.null())),
    ([None], pa.list_(pa.float64())), ([[1]], pa.list_(pa.list_(pa.int64()))),
    ([1], pa.large_list(pa.int32())), ([-1, 2**62], pa.list_(pa.int64())),
    ({"a": 1}, pa.struct([("a", pa.int64())])), ([("a", 1)], pa.map_(pa.string(), pa.int64())),
    (Decimal("1.5"), pa.decimal128(20, 3)), (date(1, 1, 1), pa.date32()),
    (datetime(2026, 1, 1), pa.timestamp("us")),
    (datetime(1, 1, 1, tzinfo=UTC), pa.timestamp("us", "UTC")),
    (timedelta(1), pa.duration("ns")),
)  # fmt: skip
NAMES = ("", "x", "text", "url", "language", "TEXT", "a.b", "\u202e", "__index_level_0__")


def _column(column: pa.ChunkedArray, draw: random.Random) -> pa.Array | pa.ChunkedArray:
    """Returns a column with another value in one row, or of other values."""
    is_map = pa.types.is_map(column.type)  # a key that is null ends Arrow's process
    if len(column) and draw.random() < 0.6 and not is_map:
        at = draw.randrange(len(column))
        for kind in (column.type, None):
            try:
                values = column.to_pylist()
                values[at] = changed(values[at], draw)
                return pa.array(values, kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                continue  # the value does not fit, or an earlier change made no text
    if draw.random() < 0.1:  # texts that are not UTF-8
        return pa.array([b"\xff"] * len(column), pa.binary()).view(pa.string())
    value, kind = draw.choice(COLUMNS)
    return pa.array([value] * len(column), kind)


def changed_table(table: pa.Table, draw: random.Random) -> pa.Table:
    """Returns a table with one change of a column, of the rows or of the metadata."""
    kind, at = draw.random(), draw.randrange(max(table.num_columns, 1))
    if kind < 0.65 and table.num_columns:
        return table.set_column(at, table.schema.names[at], _column(table.column(at), draw))
    if kind < 0.72 and table.num_columns > 1:
        return table.remove_column(at)
    if kind < 0.8 and table.num_columns:
        return table.append_column(table.schema.names[at], _column(table.column(at), draw))
    if kind < 0.87 and table.num_columns:
        names = table.schema.names
        return table.rename_columns([*names[:at], draw.choice(NAMES), *names[at + 1 :]])
    if kind < 0.91:
        return table.slice(0, draw.randrange(2))
    if kind < 0.95:
        return pa.concat_tables([table] * draw.choice((2, 30)))
    return table.replace_schema_metadata({draw.choice((b"tokens", b"pandas", b"")): b"\xff{"})


def table_values(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a Parquet file with one to three changes."""
    table = pq.read_table(io.BytesIO(draw.choice(seeds)))
    for _ in range(draw.choice((1, 1, 2, 3))):
        table = changed_table(table, draw)
    try:
        return parquet_of(table, row_group_size=draw.choice((3, 1024, 1024)))
    except pa.ArrowNotImplementedError:  # Parquet has no structure without a field
        return seeds[0]


def arrow_values(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns an Arrow file with one to three changes."""
    with pa.ipc.open_file(draw.choice(seeds)) as file:
        table = file.read_all()
    for _ in range(draw.choice((1, 1, 2, 3))):
        table = changed_table(table, draw)
    try:
        return arrow_of(table)
    except pa.ArrowInvalid:  # lists may be nested 64 deep
        return seeds[0]


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    """Returns a table as a Parquet file."""
    content = io.BytesIO()
    pq.write_table(table, content, **options)
    return content.getvalue()


def arrow_of(table: pa.Table) -> bytes:
    """Returns a table as an Arrow file of one batch, compressed as spills are."""
    content = io.BytesIO()
    with pa.ipc.new_file(
        content, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
    ) as file:
        file.write_table(table.combine_chunks())
    return content.getvalue()


def plain_table(schema: pa.Schema, rows: int = 3, **fixed: Any) -> pa.Table:
    """Returns a table of a schema, of ordinary values; those of some columns are fixed."""
    columns = {
        field.name: pa.array(
            [fixed.get(field.name, _plain(field.type, row)) for row in range(rows)], field.type
        )
        for field in schema
    }
    return pa.table(columns, schema=schema)


def _plain(kind: pa.DataType, row: int) -> Any:
    of = pa.types
    if of.is_struct(kind):
        return {part.name: _plain(part.type, row) for part in kind}
    if of.is_map(kind):
        return [(_plain(kind.key_type, row), _plain(kind.item_type, row))]
    if of.is_list(kind) or of.is_large_list(kind):
        return [_plain(kind.value_type, row)] * 4
    if of.is_floating(kind):
        return 0.5
    if of.is_boolean(kind):
        return False
    if of.is_integer(kind):
        return row
    return b"0" * 16 if of.is_fixed_size_binary(kind) else f"habari {row}"
