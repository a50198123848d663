"""One page per line: two steps find, for each line, the one page that keeps it.

The first step processes each shard's pages, applies the rules on lines, and spills the remaining
pages and the keys of their lines. The second compares the keys of one hash partition over all
shards. Lines are numbered along a shard's pages, so a key takes 28 bytes and an answer 4. A line
that is on every page of the crawl is spilled once per chunk, not once per page: each chunk keeps
only its local minima, as min is associative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.reading.page import Page
from data.rules import line_rules
from data.rules.line_rules import LineHashes
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import by_shard, keys_path, numbers_from, read_keys, write_keys
from pipeline.cleaning.judgement import Judgement
from pipeline.cleaning.page_spill import page_spill
from pipeline.cleaning.spilled_pages import SpilledPages
from pipeline.cleaning.tally import Tally

KEYS = pa.schema(
    [
        ("first", pa.uint64()),  # half of the line's hash
        ("second", pa.uint64()),
        ("rank", pa.uint64()),  # of the page; the smallest keeps the line
        ("line", pa.uint32()),
    ]
)
KEY = np.dtype([("first", "u8"), ("second", "u8"), ("rank", "u8"), ("line", "u4"), ("shard", "u4")])


@dataclass(frozen=True)
class SpillLineKeys:
    """Spills a shard's pages that pass the judgements, and the keys of their lines.

    Each chunk has one batch of keys per partition, and a last one of duplicates in the chunk.
    """

    workspace: Workspace
    source: SpilledPages
    judgements: tuple[Judgement, ...]
    line_hashes: LineHashes
    partitions: int

    step = "claim"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        line = 0
        with page_spill(self.workspace, self.step, number, KEYS) as files:
            for passed, dropped in self.source.chunks(self.workspace, number, self.judgements):
                files.write(passed, dropped)
                line = self._write_keys(files.keys, passed, line)
        return files.tally

    def _write_keys(
        self, file: pa.RecordBatchFileWriter, pages: Sequence[Page], first_line: int
    ) -> int:
        """Writes the keys of a chunk; returns the number of the line after its last."""
        by_page = [self.line_hashes(page.text) for page in pages]
        lengths = list(map(len, by_page))
        hashes = line_rules.as_numbers([digest for digests in by_page for digest in digests])
        ranks = np.repeat(np.array([line_rules.rank_of(p.url) for p in pages], np.uint64), lengths)
        lines = numbers_from(first_line, len(hashes), "lines")
        keep = line_rules.surviving_lines(hashes, ranks, lines.astype(np.uint64))
        rows = np.flatnonzero(keep)[np.argsort(hashes[keep, 0], kind="stable")]
        columns = (hashes[:, 0], hashes[:, 1], ranks, lines)
        kept = [column[rows] for column in columns]
        write_keys(file, KEYS, kept[0], self.partitions, kept)
        file.write_batch(spill.batch(KEYS, [column[~keep] for column in columns]))
        return first_line + len(hashes)


@dataclass(frozen=True)
class FindDuplicateLines:
    """Spills the lines that another page keeps, or an earlier line of the same page."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "share"

    def __call__(self, number: int) -> Tally:
        """Processes one partition."""
        batches = (number, self.partitions + 1)
        keys = read_keys(self.workspace, SpillLineKeys.step, self.shards, batches, KEY)
        keep = line_rules.surviving_lines(
            np.stack([keys["first"], keys["second"]], axis=1),
            keys["rank"],
            (keys["shard"].astype(np.uint64) << np.uint64(32)) | keys["line"],
        )
        duplicates = keys[~keep]
        found = by_shard(duplicates["shard"], duplicates["line"], self.shards)
        spill.write_numbers(self.workspace, self.workspace.spill(self.step, number), found)
        return Tally()


def duplicate_lines_of(workspace: Workspace, shard: int, partitions: int) -> np.ndarray:
    """Returns the numbers of the lines that a shard's pages do not keep, sorted."""
    paths = [workspace.spill(FindDuplicateLines.step, number) for number in range(partitions)]
    in_exchange = spill.read_numbers(paths, shard)
    keys = spill.every(keys_path(workspace, SpillLineKeys.step, shard), partitions, partitions + 1)
    in_chunks = [batch["line"].to_numpy() for batch in keys]
    return np.sort(np.concatenate([in_exchange, *in_chunks]))
