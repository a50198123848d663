"""One page per line: pages claim their lines, and of all claims to a line one wins.

The first step processes each shard's pages, applies the rules that look at lines, and spills the
remaining pages and their claims. The second decides a hash partition of the lines of all shards.
Lines are numbered along a shard's pages, so a claim takes 28 bytes and an answer 4. A line that is
on every page of the crawl is claimed once per chunk, not once per page.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.reading.page import Page
from data.rules import line_rules
from data.rules.line_rules import LineHashes
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import passes, spill
from pipeline.cleaning.judgement import Judgement
from pipeline.cleaning.newest import lost_by_shard
from pipeline.cleaning.passes import claims_of, claims_to
from pipeline.cleaning.source import Source
from pipeline.cleaning.tally import Tally

CLAIMS = pa.schema(
    [
        ("first", pa.uint64()),  # of the hash
        ("second", pa.uint64()),
        ("rank", pa.uint64()),  # of the page
        ("line", pa.uint32()),
    ]
)


@dataclass(frozen=True)
class ClaimLines:
    """Spills a shard's pages after the judgements, and the claims to their lines.

    Each chunk has one batch of claims per partition, and one more: those lost in the chunk itself.
    """

    workspace: Workspace
    source: Source
    judgements: tuple[Judgement, ...]
    line_hashes: LineHashes
    partitions: int

    step = "claim"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        line = 0
        with passes.begun(self.workspace, self.step, number, CLAIMS) as files:
            for stay, go in self.source.chunks(self.workspace, number, self.judgements):
                files.write(stay, go)
                line = self._claim(files.claims, stay, line)
        return files.tally

    def _claim(self, file: pa.RecordBatchFileWriter, pages: Sequence[Page], first_line: int) -> int:
        """Writes the claims of a chunk; returns the number of the line after its last."""
        of_pages = [self.line_hashes(page.text) for page in pages]
        lengths = list(map(len, of_pages))
        hashes = line_rules.as_numbers([digest for digests in of_pages for digest in digests])
        ranks = np.repeat(np.array([line_rules.rank_of(p.url) for p in pages], np.uint64), lengths)
        lines = np.arange(first_line, first_line + len(hashes), dtype=np.uint32)
        stays = line_rules.surviving_lines(hashes, ranks, lines.astype(np.uint64))
        order = np.flatnonzero(stays)[np.argsort(hashes[stays, 0], kind="stable")]
        part = (hashes[order, 0] >> np.uint64(32)) * np.uint64(self.partitions) >> np.uint64(32)
        ends = np.searchsorted(part, np.arange(self.partitions + 1))
        for begin, end in itertools.pairwise(ends):
            _write_claims(file, hashes, ranks, lines, order[begin:end])
        _write_claims(file, hashes, ranks, lines, np.flatnonzero(~stays))
        return first_line + len(hashes)


def _write_claims(
    file: pa.RecordBatchFileWriter,
    hashes: np.ndarray,
    ranks: np.ndarray,
    lines: np.ndarray,
    chosen: np.ndarray,
) -> None:
    columns = (hashes[chosen, 0], hashes[chosen, 1], ranks[chosen], lines[chosen])
    file.write_batch(pa.record_batch(list(map(pa.array, columns)), schema=CLAIMS))


@dataclass(frozen=True)
class ShareLines:
    """Spills the lines that another page keeps, or the same page in an earlier line."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "share"

    def __call__(self, number: int) -> Tally:
        """Processes one partition."""
        batches = (number, self.partitions + 1)
        claims = claims_to(self.workspace, ClaimLines.step, self.shards, batches, CLAIM)
        stays = line_rules.surviving_lines(
            np.stack([claims["first"], claims["second"]], axis=1),
            claims["rank"],
            (claims["shard"].astype(np.uint64) << np.uint64(32)) | claims["line"],
        )
        lost = claims[~stays]
        by_shard = lost_by_shard(lost["shard"], lost["line"], self.shards)
        spill.write_numbers(self.workspace, self.workspace.spill(self.step, number), by_shard)
        return Tally()


CLAIM = np.dtype(
    [("first", "u8"), ("second", "u8"), ("rank", "u8"), ("line", "u4"), ("shard", "u4")]
)


def lines_lost(workspace: Workspace, shard: int, partitions: int) -> np.ndarray:
    """Returns the numbers of the lines that a shard's pages do not keep, sorted."""
    shared = [workspace.spill(ShareLines.step, partition) for partition in range(partitions)]
    elsewhere = spill.read_numbers(shared, shard)
    path = claims_of(workspace, ClaimLines.step, shard)
    beaten = [b["line"].to_numpy() for b in spill.every(path, partitions, partitions + 1)]
    return np.sort(np.concatenate([elsewhere, *beaten]))
