"""Reads input files, one work item a file, whatever their format: pages and broken records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from data import json_lines, parquet_pages, web_archive
from data.page import BrokenRecord

BROKEN = "broken"
READERS = (
    dict.fromkeys(web_archive.SUFFIXES, web_archive.read)
    | dict.fromkeys(web_archive.HTML_SUFFIXES, web_archive.read_html)
    | dict.fromkeys(json_lines.SUFFIXES, json_lines.read)
    | dict.fromkeys(parquet_pages.SUFFIXES, parquet_pages.read)
)  # the first suffix that fits: .warc.wet.gz is text


def is_readable(path: Path) -> bool:
    """Says whether a reader exists for the file's name."""
    return path.name.endswith(tuple(READERS))


class ReadPages(beam.PTransform):
    """Gives (pages, broken records) of the files."""

    def __init__(self, paths: list[Path]):
        super().__init__()
        self._paths = [str(path) for path in paths]

    def expand(self, input_or_inputs):
        return (
            input_or_inputs
            | "ListFiles" >> beam.Create(self._paths)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFile" >> beam.FlatMap(_read).with_outputs(BROKEN, main="pages")
        )


def _read(path: str) -> Iterator[Any]:
    reader = next(reader for suffix, reader in READERS.items() if path.endswith(suffix))
    for record in reader(Path(path)):
        yield TaggedOutput(BROKEN, record) if isinstance(record, BrokenRecord) else record
