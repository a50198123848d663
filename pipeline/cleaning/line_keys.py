"""The pages of a shard after the line rules, and one key per line, in the order of the hashes.

A line has one key per shard, as taking the smallest rank is associative; so a line that is on every
page of the crawl crosses between shards once per shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from data.dedup import line_dedup
from data.dedup.line_dedup import LineHashes
from data.reading.page import Page
from data.stores.temporary_folders import temporary_folder
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
            temporary_folder() as scratch,
            page_spill(self.workspace, self.step, number) as files,
        ):
            keys = SortedKeys(KEY, scratch, self.partitions)
            for passed, dropped, rows in self.source.chunks(
                self.workspace, number, self.judgements
            ):
                files.write(passed, dropped, rows)
                found = keys_of(passed, self.line_hashes, line)
                keys.add(found)
                line += len(found)
            write_keys(self.workspace, number, keys)
        return files.tally


def write_keys(workspace: Workspace, shard: int, keys: SortedKeys) -> None:
    """Writes one key per line, in the order of their hashes, and apart those of repeats."""
    with (
        spill.writer(workspace, keys_path(workspace, shard), KEYS) as file,
        spill.writer(workspace, repeats_path(workspace, shard), KEYS) as repeats,
    ):
        for some in keys.ranges():
            hashes = np.stack((some["first"], some["second"]), axis=1)
            keep = line_dedup.surviving_lines(hashes, some["rank"], some["line"].astype(np.uint64))
            for of, chosen in ((file, keep), (repeats, ~keep)):
                of.write_batch(spill.batch(KEYS, [some[name][chosen] for name in KEYS.names]))


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
