"""Second step: of the claims to an address, from all shards, the newest page's wins.

A partition reads every claim to its addresses, at most one per chunk and address. It spills the
rows that lost, one batch per shard.
"""

from dataclasses import dataclass

import numpy as np

from data.dedup import newest_per_url
from data.dedup.newest_per_url import PageVersion
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.passes import claims_of
from pipeline.cleaning.read import ReadShard
from pipeline.cleaning.tally import Tally


@dataclass(frozen=True)
class FindNewest:
    """Spills the rows of the pages that are not the newest of their address."""

    workspace: Workspace
    shards: int
    partitions: int

    step = "newest"

    def __call__(self, number: int) -> Tally:
        """Processes one partition."""
        claims: list[PageVersion] = []
        shards: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for shard in range(self.shards):
            path = claims_of(self.workspace, ReadShard.step, shard)
            for batch in spill.every(path, number, self.partitions):
                *columns, numbers = (column.to_pylist() for column in batch.columns)
                claims += map(PageVersion, *columns)
                rows.append(np.array(numbers, np.uint32))
                shards.append(np.full(len(numbers), shard, np.uint32))
        lost = ~newest_per_url.newest(claims)
        by_shard = lost_by_shard(_joined(shards)[lost], _joined(rows)[lost], self.shards)
        spill.write_numbers(self.workspace, self.workspace.spill(self.step, number), by_shard)
        return Tally()


def lost_by_shard(shards: np.ndarray, numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """Returns the numbers that lost, one sorted array per shard."""
    order = np.lexsort((numbers, shards))
    ends = np.searchsorted(shards[order], np.arange(1, count))
    return np.split(numbers[order], ends)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, np.uint32)
