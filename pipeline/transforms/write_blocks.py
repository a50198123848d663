"""Beam wiring from pages to token blocks: one element is one shard, from its files to its counts.

What a shard holds is decided by its list of files alone, and its order by theirs: any number of
workers, and any retry, writes the same bytes. Nothing is grouped, so nothing has to fit into memory
but the shard at hand. A finished shard has its counts in a file beside it (a fragment of the
manifest); a job that was cut short passes over those shards.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from data.token_blocks import Shard, TokenizedPage, write_shard
from pipeline import corpus
from pipeline.artifacts import read_json, write_json

PAGES_PER_CALL = 256  # TensorFlow's cost of a call is about 1 ms, that of a page 0.1 ms


class PageShard(NamedTuple):
    """The files of pages that become one shard."""

    name: str
    paths: tuple[Path, ...]


class TokenLayout(NamedTuple):
    """How ids are written: their type, and which of them are byte pieces."""

    dtype: str
    byte_ids: tuple[int, int]


class WriteShard(beam.DoFn):
    """Encodes the pages of a shard, writes it, and yields its name."""

    def __init__(self, model: bytes, directory: Path, layout: TokenLayout):
        self.model, self.directory, self.layout = model, directory, layout
        self.op: Any = None

    def process(self, element: PageShard) -> Iterator[str]:
        """Writes one shard, unless it is finished."""
        if not fragment(self.directory, element.name).exists():
            pages = [page for path in element.paths for page in self._pages(path)]
            layout = self.layout
            shard = write_shard(
                self.directory, element.name, pages, np.dtype(layout.dtype), range(*layout.byte_ids)
            )
            write_json(fragment(self.directory, element.name), asdict(shard))
        yield element.name

    def _pages(self, path: Path) -> Iterator[TokenizedPage]:
        self._load()
        rows = corpus.rows(path, ["url", "text"])
        for start in range(0, len(rows), PAGES_PER_CALL):
            chunk = rows[start : start + PAGES_PER_CALL]
            texts = [row["text"] for row in chunk]
            for row, text, tokens in zip(chunk, texts, self.op(texts), strict=True):
                yield TokenizedPage(row["url"], tokens, len(text.encode()), len(text))

    def _load(self) -> None:
        """Loads TensorFlow, once a worker; nothing that identifies languages may run here."""
        if self.op is None:
            from pipeline.transforms.sentencepiece_op import SentencePieceOp

            self.op = SentencePieceOp(self.model)


class WriteTokenBlocks(beam.PTransform):
    """Lists of files in, names of finished shards out; the blocks lie in `directory`."""

    def __init__(self, model: bytes, directory: Path, layout: TokenLayout):
        super().__init__()
        self.model, self.directory, self.layout = model, directory, layout

    def expand(self, input_or_inputs: Any) -> Any:
        """Wires the two steps."""
        return (
            input_or_inputs
            | "Spread" >> beam.Reshuffle()
            | "WriteShards" >> beam.ParDo(WriteShard(self.model, self.directory, self.layout))
        )


def fragment(directory: Path, name: str) -> Path:
    """Returns where the counts of a finished shard lie until the manifest holds them."""
    return directory / f"{name}.json"


def read_fragment(directory: Path, name: str) -> Shard:
    """Returns what a finished shard holds."""
    return Shard(**read_json(fragment(directory, name)))
