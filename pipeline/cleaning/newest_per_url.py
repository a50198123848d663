"""Second step: finds the pages that are not the newest of their address, over all shards.

A partition reads every version of its addresses, at most one per chunk and address. It spills the
rows of all but the newest, one batch per shard.
"""

from dataclasses import dataclass

import numpy as np

from data.dedup import newest_per_url
from data.dedup.newest_per_url import PageVersion
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import by_shard, keys_path
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
        versions: list[PageVersion] = []
        shards, rows = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
        for shard in range(self.shards):
            path = keys_path(self.workspace, ReadShard.step, shard)
            for batch in spill.every(path, number, self.partitions):
                *columns, numbers = (column.to_pylist() for column in batch.columns)
                versions += map(PageVersion, *columns)
                rows.append(np.array(numbers, np.uint32))
                shards.append(np.full(len(numbers), shard, np.uint32))
        older = ~newest_per_url.newest(versions)
        found = by_shard(np.concatenate(shards)[older], np.concatenate(rows)[older], self.shards)
        spill.write_numbers(self.workspace, self.workspace.spill(self.step, number), found)
        return Tally()
