"""Third and fourth step: pages claim their lines, and of all claims to a line one wins.

The third goes over each shard's newest pages, asks the rules that look at lines, and spills what is
left of the pages beside the claims. The fourth decides a partition of the lines of all shards.
Lines are numbered along a shard's pages, so a claim takes 28 bytes and an answer 4. A line that is
on every page of the crawl is claimed once a chunk, not once a page.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data import line_rules, page_table
from data.page import Page, Rejected
from pipeline.cleaning import runs, spill
from pipeline.cleaning.judgement import Judgement, judged
from pipeline.cleaning.newest import FindNewest, lost_by_shard
from pipeline.cleaning.read import ReadShard
from pipeline.cleaning.tally import Tally
from pipeline.cleaning.workspace import Workspace

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
    """Spills what the line rules leave of a shard's newest pages, and the claims to their lines.

    Each chunk has a batch of claims a partition, and one more: those beaten in the chunk itself.
    """

    workspace: Workspace
    judgements: tuple[Judgement, ...]
    partitions: int

    step = "claim"

    def __call__(self, number: int) -> Tally:
        """Goes over one shard."""
        tally, space = Tally(), self.workspace
        turned_down = space.spill(self.step, number, ".rejected")
        older = spill.read_numbers(
            [space.spill(FindNewest.step, partition) for partition in range(self.partitions)],
            number,
        )
        with (
            spill.writer(space, space.spill(self.step, number), page_table.SCHEMA) as pages,
            spill.writer(space, space.spill(self.step, number, ".claims"), CLAIMS) as claims,
            runs.writer(space, turned_down, tally) as rejected,
        ):
            row = line = 0
            for batch in spill.batches(space.spill(ReadShard.step, number)):
                chunk = list(page_table.pages(batch))
                stay, go = self._judge(chunk, older - row)
                row += len(chunk)
                for one in go:
                    tally.count_rejected(one)
                rejected.write(map(runs.rejected, go))
                pages.write_batch(page_table.batch(stay))
                line = self._claim(claims, stay, line)
        return tally

    def _judge(self, chunk: Sequence[Page], older: np.ndarray) -> tuple[list[Page], list[Rejected]]:
        is_older = np.zeros(len(chunk), dtype=bool)
        is_older[older[(older >= 0) & (older < len(chunk))]] = True
        stay: list[Page] = []
        go: list[Rejected] = []
        for page, old in zip(chunk, is_older, strict=True):
            one = Rejected(page, "duplicate_url") if old else judged(page, self.judgements)
            stay.append(one) if isinstance(one, Page) else go.append(one)
        return stay, go

    def _claim(self, file: pa.RecordBatchFileWriter, pages: Sequence[Page], first_line: int) -> int:
        """Writes the claims of a chunk; returns the number of the line after its last."""
        of_pages = [line_rules.line_hashes(page.text) for page in pages]
        lengths = list(map(len, of_pages))
        hashes = line_rules.as_numbers([digest for digests in of_pages for digest in digests])
        ranks = np.repeat(np.array([line_rules.rank_of(p.url) for p in pages], np.uint64), lengths)
        lines = np.arange(first_line, first_line + len(hashes), dtype=np.uint32)
        stays = line_rules.keepers(hashes, ranks, lines.astype(np.uint64))
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
    """Spills the lines that another page keeps, or the same page further up."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "share"

    def __call__(self, number: int) -> Tally:
        """Decides one partition."""
        parts: list[np.ndarray] = []
        for shard in range(self.shards):
            path = self.workspace.spill(ClaimLines.step, shard, ".claims")
            for batch in spill.every(path, number, self.partitions + 1):
                part = np.empty(batch.num_rows, CLAIM)
                for name in CLAIMS.names:
                    part[name] = batch[name].to_numpy()
                part["shard"] = shard
                parts.append(part)
        claims = np.concatenate(parts) if parts else np.empty(0, CLAIM)
        stays = line_rules.keepers(
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
    path = workspace.spill(ClaimLines.step, shard, ".claims")
    beaten = [b["line"].to_numpy() for b in spill.every(path, partitions, partitions + 1)]
    return np.sort(np.concatenate([elsewhere, *beaten]))
