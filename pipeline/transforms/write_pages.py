"""Writes pages as Parquet, byte for byte the same for any number of workers and any retry.

All languages go through one branch, keyed by the file they belong to. A page's shard is a hash of
its address, the rows of a shard are sorted, and a file gets its name only when it is whole. The
number of shards follows from the number of pages, so that no shard outgrows a worker's memory.
"""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsDict
from apache_beam.transforms import combiners

from data.page import Page, Rejected
from data.urls import normalized_hash, number

PAGES_A_SHARD = 10_000  # 30 to 120 MB of text

KEPT_COLUMNS = pa.schema(
    [
        ("text", pa.string()),
        ("url", pa.string()),
        ("timestamp", pa.string()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
        ("split", pa.string()),
    ]
)
REJECTED_COLUMNS = KEPT_COLUMNS.append(pa.field("reason", pa.string()))


class Row(NamedTuple):
    """A page and its place: the values of the columns, ordered by hash, then by content."""

    digest: bytes
    values: tuple


class WritePages(beam.PTransform):
    """Writes pages to DIRECTORY/pages/sw/train-00000-of-00002.parquet."""

    def __init__(self, directory: Path):
        super().__init__()
        self._directory = directory / "pages"

    def expand(self, input_or_inputs):
        return (
            input_or_inputs
            | "PlacePage" >> beam.Map(lambda page: (f"{page.language}/{page.split}", _kept(page)))
            | WriteShards(self._directory, KEPT_COLUMNS)
        )


class WriteRejected(beam.PTransform):
    """Writes rejected pages to DIRECTORY/rejected/sw/rejected-00000-of-00001.parquet."""

    def __init__(self, directory: Path):
        super().__init__()
        self._directory = directory / "rejected"

    def expand(self, input_or_inputs):
        return (
            input_or_inputs
            | "PlaceRejected" >> beam.Map(lambda one: (_rejected_place(one), _rejected(one)))
            | WriteShards(self._directory, REJECTED_COLUMNS)
        )


class WriteShards(beam.PTransform):
    """Writes (place, row) to DIRECTORY/PLACE-00000-of-00001.parquet; gives the paths."""

    def __init__(self, directory: Path, columns: pa.Schema):
        super().__init__()
        self._directory = str(directory)
        self._columns = columns

    def expand(self, input_or_inputs):
        rows = input_or_inputs
        counts = rows | "TakePlace" >> beam.Keys() | "CountRows" >> combiners.Count.PerElement()
        return (
            rows
            | "ChooseShard" >> beam.Map(_shard, AsDict(counts))
            | "GroupByShard" >> beam.GroupByKey()
            | "WriteShard" >> beam.Map(_write, self._directory, self._columns)
        )


def _kept(page: Page) -> Row:
    values = (page.text, page.url, page.timestamp, page.language, page.language_probability)
    return Row(normalized_hash(page.url), (*values, page.split))


def _rejected(rejected: Rejected) -> Row:
    page = rejected.page._replace(language=rejected.page.counted_language)
    row = _kept(page)
    return row._replace(values=(*row.values, rejected.reason))


def _rejected_place(rejected: Rejected) -> str:
    return f"{rejected.page.counted_language}/rejected"


def _shard(placed: tuple[str, Any], counts: dict[str, int]) -> tuple[str, Any]:
    place, row = placed
    shards = -(-counts[place] // PAGES_A_SHARD)
    # High bits: held-out pages are multiples of 1000, so low bits would crowd them into one shard.
    shard = (number(row.digest) >> 64) % shards
    return f"{place}-{shard:05d}-of-{shards:05d}.parquet", row


def _write(shard: tuple[str, Iterable[Any]], directory: str, columns: pa.Schema) -> str:
    name, rows = shard
    path = Path(directory, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = zip(*(row.values for row in sorted(rows)), strict=True)
    table = pa.table(list(map(list, values)), schema=columns)
    # Two attempts at one bundle may run at a time; each writes its own file, the same bytes.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)
    return str(path)
