"""One page per address: a round that finds the pages that are not the newest, over all shards.

A shard sends every version of its addresses, at most one per chunk and address, some 60 bytes each:
of a crawl's pages a thirtieth of what its lines take, so there are fewer partitions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, UInt64

from data.dedup import newest_per_url
from data.dedup.newest_per_url import PageVersion
from data.dedup.repeated import has_equal
from pipeline.beam.waves import Wave
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import spill
from pipeline.cleaning.exchange import ends_of, write_numbers
from pipeline.cleaning.read import VERSIONS, versions_path


@dataclass(frozen=True)
class FindNewest:
    """Collects the rows of the pages that are not the newest of their address."""

    workspace: Workspace
    partitions: int

    step = "newest"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the versions of a shard's pages, by partition."""
        found = pa.Table.from_batches(
            spill.batches(versions_path(self.workspace, shard)), VERSIONS
        ).combine_chunks()
        hashes = _hashes(found)
        order = np.argsort(hashes, kind="stable")
        ends = ends_of(hashes[order], 0, self.partitions, self.partitions)
        for partition in range(*wave):
            begin, end = ends[partition : partition + 2]
            if begin < end:
                (batch,) = found.take(order[begin:end]).combine_chunks().to_batches()
                yield partition, batch.serialize().to_pybytes()

    def compare(
        self, partition: int, parts: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        """Yields the rows of each shard that have a newer version."""
        batches = [(shard, pa.ipc.read_record_batch(part, VERSIONS)) for shard, part in parts]
        batches.sort(key=lambda one: one[0])
        found = pa.Table.from_batches([batch for _, batch in batches])
        older = _older(found)
        rows = found["row"].to_numpy()
        first = 0
        for shard, batch in batches:
            here = slice(first, first + batch.num_rows)
            yield shard, rows[here][older[here]].tobytes()
            first += batch.num_rows

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the rows of a shard that are not the newest."""
        path = wave.verdict(self.workspace, self.step, shard)
        write_numbers(self.workspace, path, verdicts.values())


def _older(found: pa.Table) -> Bool[np.ndarray, " versions"]:
    """Returns which versions are not the newest of their address."""
    older = np.zeros(len(found), dtype=bool)
    rivals = np.flatnonzero(has_equal(_hashes(found)))  # most addresses occur once
    columns = found.take(rivals).select(PageVersion._fields)
    versions = list(map(PageVersion, *(column.to_pylist() for column in columns.columns)))
    older[rivals] = ~newest_per_url.newest(versions)
    return older


def _hashes(found: pa.Table) -> UInt64[np.ndarray, " versions"]:
    """Returns the first half of each address's hash."""
    parts = [np.frombuffer(b"", ">u8")]
    for chunk in found["address"].chunks:
        width = chunk.type.byte_width
        first, size = chunk.offset * width, len(chunk) * width
        parts.append(np.frombuffer(chunk.buffers()[1], ">u8", size // 8, first)[::2])
    return np.concatenate(parts).astype(np.uint64)
