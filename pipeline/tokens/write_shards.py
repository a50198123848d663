"""Beam wiring from pages to token blocks: one piece of work is one shard, from files to counts.

What a shard holds is decided by its list of files alone, and its order by theirs: any number of
workers, and any retry, writes the same bytes. Nothing is grouped, so nothing has to fit into memory
but the shard at hand. A finished shard has its counts in a file of the workspace (a fragment of the
manifest); a job that was cut short passes over those shards, if they were its own: KEY stands for
the version of the code, the vocabulary and the list of shards.

    OUT/work/KEY/shards.json                          the shards and their files
    OUT/work/KEY/shards/sw/train-00000-of-00001.json  what a finished shard holds

What moves between workers are numbers of shards; the list and the vocabulary lie in the output
directory. So the job's graph is as small for a whole crawl with mT5's vocabulary (4 MB).
"""

import functools
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from data.tokens.blocks import Shard, TokenizedPage, write_shard
from data.tokens.tokenizer import MODEL_FILE
from pipeline import storage
from pipeline.beam.counters import add
from pipeline.corpus.pages import page_rows
from pipeline.store_access import Words, use, words_of

PAGES_PER_CALL = 256  # TensorFlow's cost of a call is about 1 ms, that of a page 0.1 ms


class PageShard(NamedTuple):
    """The files of pages that become one shard."""

    name: str
    paths: tuple[str, ...]


class TokenLayout(NamedTuple):
    """How ids are written: their type, and which of them are byte pieces."""

    dtype: str
    byte_ids: tuple[int, int]


@dataclass(frozen=True)
class Workspace:
    """Where the job that writes to this directory keeps what its workers share."""

    out: str
    key: str

    @property
    def model(self) -> str:
        """The vocabulary's path."""
        return storage.join(self.out, MODEL_FILE)

    @property
    def scratch(self) -> str:
        """Holds what is not whole yet."""
        return storage.join(self.out, storage.WORK, self.key, "scratch")

    def begin(self, shards: list[PageShard], model: bytes) -> None:
        """Leaves the list of shards and the vocabulary; of another key nothing is left.

        The other's own folder goes last: a kill before that does not hide that it was there.
        """
        work = storage.join(self.out, storage.WORK)
        others = [name for name in storage.directories_in(work) if name != self.key]
        if others:
            languages = [name for name in storage.directories_in(self.out) if name != storage.WORK]
            for name in (*languages, *(f"{storage.WORK}/{other}" for other in others)):
                storage.remove(storage.join(self.out, name))
        storage.write_json(self._listing, shards, self.scratch)
        with storage.published(self.model, self.scratch) as unfinished:
            unfinished.write_bytes(model)

    def shards(self) -> list[PageShard]:
        """Returns the shards of the job."""
        return [PageShard(name, tuple(paths)) for name, paths in storage.read_json(self._listing)]

    def is_done(self, name: str) -> bool:
        """Says whether a shard is finished."""
        return storage.exists(self._fragment(name))

    def finish(self, shard: Shard) -> None:
        """Notes what a finished shard holds."""
        storage.write_json(self._fragment(shard.name), asdict(shard), self.scratch)

    def finished(self, name: str) -> Shard:
        """Returns what a finished shard holds."""
        return Shard(**storage.read_json(self._fragment(name)))

    def clear(self) -> None:
        """Removes all but the vocabulary, when the blocks are whole."""
        storage.remove(storage.join(self.out, storage.WORK))

    @property
    def _listing(self) -> str:
        return storage.join(self.out, storage.WORK, self.key, "shards.json")

    def _fragment(self, name: str) -> str:
        return storage.join(self.out, storage.WORK, self.key, "shards", f"{name}.json")


class WriteShard(beam.DoFn):
    """Encodes the pages of a shard, writes it, and yields its number."""

    def __init__(self, workspace: Workspace, layout: TokenLayout, stores: Words):
        self.workspace, self.layout, self.stores = workspace, layout, stores
        self.shards: list[PageShard] = []
        self.op: Any = None

    def setup(self) -> None:
        """Reaches the stores that the job's options describe."""
        use(self.stores)

    def process(self, element: int) -> Iterator[int]:
        """Writes one shard, unless it is finished."""
        self.shards = self.shards or self.workspace.shards()
        name, paths = self.shards[element]
        if not self.workspace.is_done(name):
            pages = [page for path in paths for page in self._pages(path)]
            shard = self._write(name, pages)
            self.workspace.finish(shard)
            count(shard)
        yield element

    def _write(self, name: str, pages: list[TokenizedPage]) -> Shard:
        """Writes a shard on this machine; for a store its two files are then sent there."""
        out, layout = self.workspace.out, self.layout
        write = functools.partial(
            write_shard,
            name=name,
            pages=pages,
            dtype=np.dtype(layout.dtype),
            byte_ids=range(*layout.byte_ids),
        )
        if storage.is_local(out):
            return write(Path(out))
        with tempfile.TemporaryDirectory() as directory:
            shard = write(Path(directory))
            for file in (shard.page_table, shard.records):
                storage.send(
                    Path(directory, file.name), storage.join(out, file.name), self.workspace.scratch
                )
        return shard

    def _pages(self, path: str) -> Iterator[TokenizedPage]:
        self._load()
        rows = page_rows(path, ["url", "text"])
        for start in range(0, len(rows), PAGES_PER_CALL):
            chunk = rows[start : start + PAGES_PER_CALL]
            texts = [row["text"] for row in chunk]
            for row, text, tokens in zip(chunk, texts, self.op(texts), strict=True):
                yield TokenizedPage(row["url"], tokens, len(text.encode()), len(text))

    def _load(self) -> None:
        """Loads TensorFlow, once a worker; nothing that identifies languages may run here."""
        if self.op is None:
            from pipeline.tokens.sentencepiece_op import SentencePieceOp

            self.op = SentencePieceOp(storage.read_bytes(self.workspace.model))


def count(shard: Shard) -> None:
    """Adds to the job's counters: pages_tokenized, tokens, text_bytes."""
    add("pages_tokenized", shard.pages)
    add("tokens", shard.tokens)
    add("text_bytes", shard.text_bytes)


class WriteTokenBlocks(beam.PTransform):
    """Numbers of shards in, numbers of finished shards out; the blocks lie in the workspace."""

    def __init__(self, workspace: Workspace, layout: TokenLayout):
        super().__init__()
        self.workspace, self.layout = workspace, layout

    def expand(self, input_or_inputs: Any) -> Any:
        """Wires the two steps."""
        write = WriteShard(self.workspace, self.layout, words_of(input_or_inputs.pipeline.options))
        return input_or_inputs | "Spread" >> beam.Reshuffle() | "WriteShards" >> beam.ParDo(write)
