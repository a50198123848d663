"""The pages of a shard after the line rules, and one key per line, in the order of the hashes.

A line has one key per shard, as taking the smallest rank is associative; so a line that is on every
page of the crawl crosses between shards once per shard.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from data.dedup import line_dedup
from data.dedup.line_dedup import LineHashes
from data.files.paths import temporary_folder
from data.reading.page import Page
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import numbers_from
from pipeline.cleaning.judgement import Judgement
from pipeline.cleaning.sorted_keys import SortedKeys
from pipeline.cleaning.spills import spill
from pipeline.cleaning.spills.page_spill import page_spill
from pipeline.cleaning.spills.spilled_pages import SpilledPages
from pipeline.cleaning.tally import Tally

KEY = np.dtype([("first", "u8"), ("second", "u8"), ("rank", "u8"), ("line", "u4")])
KEYS = pa.schema([(name, pa.from_numpy_dtype(KEY[name])) for name in KEY.names or ()])


@dataclass(frozen=True)
class SpillLineKeys:
    """Spills a shard's pages that pass the judgements, and the keys of their lines."""

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]
    line_hashes: LineHashes
    partitions: int

    step = "claim"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        line = 0
        with (
            page_spill(self.workspace, self.step, number) as files,
            line_keys(self.workspace, number, self.partitions) as keys,
        ):
            for passed, dropped, rows in self.source.chunks(
                self.workspace, number, self.judgements
            ):
                files.write(passed, dropped, rows)
                found = keys_of(passed, self.line_hashes, line)
                keys.add(found)
                line += len(found)
        return files.tally


class LineKeys:
    """Takes the keys of a shard's lines; each line's first key stays, the others are repeats."""

    def __init__(self, kept: SortedKeys, repeats: pa.RecordBatchFileWriter):
        self._kept, self._repeats = kept, repeats

    def add(self, keys: Shaped[np.ndarray, " lines"]) -> None:
        """Takes more keys. Equal ones leave at once: all empty lines would be one range."""
        self._kept.add(self._without_repeats(keys))

    def ranges(self) -> Iterator[Shaped[np.ndarray, " lines"]]:
        """Yields one key per line, in the order of their hashes."""
        return map(self._without_repeats, self._kept.ranges())

    def _without_repeats(self, keys: Shaped[np.ndarray, " lines"]) -> Shaped[np.ndarray, " kept"]:
        hashes = np.stack((keys["first"], keys["second"]), axis=1)
        stays = line_dedup.surviving_lines(hashes, keys["rank"], keys["line"].astype(np.uint64))
        self._repeats.write_batch(_batch(keys[~stays]))
        return keys[stays]


def _batch(keys: Shaped[np.ndarray, " lines"]) -> pa.RecordBatch:
    return spill.batch(KEYS, [keys[name] for name in KEYS.names])


@contextmanager
def line_keys(workspace: Workspace, shard: int, partitions: int) -> Iterator[LineKeys]:
    """Takes keys within the block, and then writes them: one per line, and apart the repeats."""
    with (
        temporary_folder() as scratch,
        spill.writer(workspace, repeats_path(workspace, shard), KEYS) as repeats,
    ):
        keys = LineKeys(SortedKeys(KEY, scratch, partitions), repeats)
        yield keys
        with spill.writer(workspace, keys_path(workspace, shard), KEYS) as file:
            for some in keys.ranges():
                file.write_batch(_batch(some))


def keys_of(
    pages: Sequence[Page], line_hashes: LineHashes, first_line: int
) -> Shaped[np.ndarray, " lines"]:
    """Returns the key of each line of a chunk's pages.

    Raises:
        DataError: if a line's number does not fit 32 bits.
    """
    by_page = [line_hashes(page.text) for page in pages]
    hashes = line_dedup.as_numbers([digest for digests in by_page for digest in digests])
    ranks = np.array([line_dedup.rank_of(page.url) for page in pages], np.uint64)
    keys = np.empty(len(hashes), KEY)
    keys["first"], keys["second"] = hashes.T
    keys["rank"] = np.repeat(ranks, list(map(len, by_page)))
    keys["line"] = numbers_from(first_line, len(hashes), "lines")
    return keys


def keys_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of a shard's keys."""
    return workspace.spill(SpillLineKeys.step, shard, ".keys")


def repeats_path(workspace: Workspace, shard: int) -> str:
    """Returns the path of the keys of lines that another line of the shard represents."""
    return workspace.spill(SpillLineKeys.step, shard, ".repeats")
