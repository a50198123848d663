"""The work of tokenizing: each work item writes one shard of token blocks, or carries one over.

A shard's content follows from its list of page files alone, in their order, so any number of
workers and any retry write the same bytes. Nothing is grouped: a worker's memory holds one shard.
The record of a finished work item (`pipeline.beam.workspace`) is the shard's entry in the manifest.

The list of shards and the vocabulary lie in the output directory, so the job's graph stays small
for a whole crawl with mT5's vocabulary (4 MB).
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import to_builtins
from msgspec.structs import replace

from data.files.atomic import upload
from data.files.json_files import RelativePath
from data.files.paths import is_remote, join_path, read_bytes, temporary_folder
from data.tokens.manifest import Shard
from data.tokens.shards import TokenizedPage, write_shard
from data.tokens.tokenizer import MODEL_FILE
from pipeline.beam.workspace import SCRATCH, Workspace
from pipeline.corpus.pages import page_rows

PAGES_PER_CALL = 256  # TensorFlow's cost of a call is about 1 ms, that of a page 0.1 ms


class PageShard(NamedTuple):
    """The files of pages that become one shard."""

    name: RelativePath
    paths: tuple[str, ...]


class TokenLayout(NamedTuple):
    """How ids are written: their type, and which of them are byte pieces."""

    dtype: str
    byte_ids: tuple[int, int]


@dataclass(frozen=True)
class ShardRecord:
    """The record of a finished work item: what its shard holds."""

    shard: Shard

    def as_json(self) -> dict[str, Any]:
        """Returns the shard's entry in the manifest."""
        return to_builtins(self.shard)

    def counters(self) -> Mapping[str, int]:
        """Returns pages_tokenized, tokens and text_bytes."""
        shard = self.shard
        return {
            "pages_tokenized": shard.pages,
            "tokens": shard.tokens,
            "text_bytes": shard.text_bytes,
        }


@dataclass(frozen=True)
class WriteShard:
    """Encodes the pages of a shard and writes its blocks."""

    workspace: Workspace
    layout: TokenLayout

    step = "shards"

    def __call__(self, number: int) -> ShardRecord:
        """Writes one shard."""
        name, paths = self.workspace.shards(list[PageShard])[number]
        encode = _sentencepiece(join_path(self.workspace.out, MODEL_FILE))
        pages = [page for path in paths for page in _tokenized(path, encode)]
        files = tuple("/".join(path.rsplit("/", 3)[1:]) for path in paths)
        return ShardRecord(replace(self._write(name, pages), page_files=files))

    def _write(self, name: str, pages: list[TokenizedPage]) -> Shard:
        """Writes a shard locally; for a store its two files are then uploaded."""
        out, layout = self.workspace.out, self.layout
        write = functools.partial(
            write_shard,
            name=name,
            pages=pages,
            dtype=np.dtype(layout.dtype),
            byte_ids=range(*layout.byte_ids),
        )
        if not is_remote(out):
            return write(Path(out), scratch=join_path(self.workspace.directory, SCRATCH))
        with temporary_folder() as directory:
            shard = write(Path(directory))
            for file in (shard.page_table, shard.records):
                upload(Path(directory, file.name), join_path(out, file.name))
        return shard


def _tokenized(path: str, encode: Any) -> Iterator[TokenizedPage]:
    """Yields the pages of one file with their ids."""
    rows = page_rows(path, ["url", "text"])
    for start in range(0, len(rows), PAGES_PER_CALL):
        chunk = rows[start : start + PAGES_PER_CALL]
        texts = [row["text"] for row in chunk]
        for row, text, tokens in zip(chunk, texts, encode(texts), strict=True):
            yield TokenizedPage(row["url"], tokens, len(text.encode()), len(text))


@functools.lru_cache(maxsize=1)
def _sentencepiece(path: str) -> Any:
    """Returns the loaded vocabulary, once per worker; CLD3 must not be loaded in this process."""
    from pipeline.tokens.sentencepiece_op import SentencePieceOp

    return SentencePieceOp(read_bytes(path))
