"""Beam wiring from pages to token blocks: encode in batches, group by shard, write whole shards.

What a shard holds is decided by its pages' addresses alone, and its order by their hash: any number
of workers, and any retry, writes the same bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from data.token_blocks import Shard, TokenizedPage, write_shard
from pipeline import corpus

PAGES_PER_CALL = 256  # TensorFlow's cost of a call is about 1 ms, that of a page 0.1 ms


class PageFile(NamedTuple):
    """One Parquet file of pages to tokenize, and the shards of its language and split."""

    path: Path
    language: str
    split: str
    shards: int


class Encode(beam.DoFn):
    """Reads a file of pages and yields each page as ids under its shard."""

    def __init__(self, model: bytes):
        self.model = model

    def setup(self) -> None:
        """Loads TensorFlow, once a worker; nothing that identifies languages may run here."""
        from pipeline.transforms.sentencepiece_op import SentencePieceOp

        self.op = SentencePieceOp(self.model)

    def process(self, element: PageFile) -> Iterator[tuple[str, TokenizedPage]]:
        """Encodes one file, some hundred pages a call."""
        rows = corpus.rows(element.path, ["url", "text"])
        for start in range(0, len(rows), PAGES_PER_CALL):
            chunk = rows[start : start + PAGES_PER_CALL]
            encoded = self.op([row["text"] for row in chunk])
            for row, tokens in zip(chunk, encoded, strict=True):
                page = TokenizedPage(row["url"], tokens, len(row["text"].encode()))
                yield shard_of(element, row["url"]), page


class WriteShard(beam.DoFn):
    """Writes the pages of one shard in the order of their hash."""

    def __init__(self, directory: Path, dtype: str):
        self.directory = directory
        self.dtype = np.dtype(dtype)

    def process(self, element: tuple[str, Iterable[TokenizedPage]]) -> Iterator[Shard]:
        """Writes one shard and yields what it holds."""
        name, pages = element
        ordered = sorted(pages, key=lambda page: (url_hash(page.url), page.url))
        yield write_shard(self.directory, name, ordered, self.dtype)


class WriteTokenBlocks(beam.PTransform):
    """Files of pages in, shards out; the blocks lie in `directory`."""

    def __init__(self, model: bytes, directory: Path, dtype: str):
        super().__init__()
        self.model, self.directory, self.dtype = model, directory, dtype

    def expand(self, input_or_inputs: Any) -> Any:
        """Wires the three steps."""
        return (
            input_or_inputs
            | "Spread" >> beam.Reshuffle()
            | "Encode" >> beam.ParDo(Encode(self.model))
            | "GroupByShard" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(WriteShard(self.directory, self.dtype))
        )


def shard_of(file: PageFile, url: str) -> str:
    """Returns the name of a page's shard."""
    number = url_hash(url) % file.shards
    return f"{file.language}/{file.split}-{number:05d}-of-{file.shards:05d}"


def url_hash(url: str) -> int:
    """Returns a stable hash of an address."""
    return int.from_bytes(hashlib.blake2b(url.encode(), digest_size=8).digest(), "big")
