"""One page per address: a round that finds the pages that are not the newest, over all shards.

A shard sends every version of its addresses, at most one per chunk and address, 62 bytes each. For
a crawl this is a thirtieth of the size of its line keys. There are as many partitions as for lines
all the same: where pages are short, addresses are most of the input, and an engine holds a
partition on its heap. An element is one byte with the length of its longest timestamp, followed by
the versions as NumPy records. An Arrow batch would add 600 bytes, which is more than the versions
of a small shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Shaped, UInt32, UInt64

from data.dedup import newest_per_url
from data.dedup.newest_per_url import PageVersion
from data.numbers import has_equal
from pipeline.beam.workspace import Parts, Wave, Waves, Workspace, verdict_path
from pipeline.corpus import spills
from pipeline.corpus.keys import between, ends_of, sub_ranges, write_numbers
from pipeline.corpus.read import versions_path

VERSIONS_AT_ONCE = 1 << 20  # of a partition, compared in memory: at most 430 bytes each

Versions = Shaped[np.ndarray, " versions"]


@dataclass(frozen=True)
class FindNewest:
    """Collects the rows of the pages that are not the newest of their address."""

    workspace: Workspace
    waves: Waves

    name = "newest"

    def send(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields the versions of a shard's pages, by partition."""
        versions = _versions(versions_path(self.workspace, shard))
        width = bytes([versions.dtype["timestamp"].itemsize])
        versions = versions[np.argsort(_hashes(versions), kind="stable")]
        partitions = self.waves.partitions
        ends = ends_of(_hashes(versions), 0, partitions, partitions)
        for partition in range(*wave):
            begin, end = ends[partition : partition + 2]
            if begin < end:
                yield partition, width + versions[begin:end].tobytes()

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the rows of each shard that have a newer version."""
        sent = [(shard, np.frombuffer(part, _type(part[0]), offset=1)) for shard, part in parts]
        sent.sort(key=lambda pair: pair[0])
        count = sum(len(versions) for _, versions in sent)
        width, start = self.waves.width, partition * self.waves.width
        rows: dict[int, list[bytes]] = {shard: [] for shard, _ in sent}
        for first, end in sub_ranges(count, VERSIONS_AT_ONCE, width.bit_length() - 1):
            for shard, older in _older_in(sent, start + first, start + end):
                rows[shard].append(older.tobytes())
        for shard, parts_of_shard in rows.items():
            yield shard, b"".join(parts_of_shard)

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the rows of a shard that are not the newest."""
        write_numbers(self.workspace, verdict_path(self, shard, wave), verdicts.values())


def _type(width: int) -> np.dtype:
    """Returns the type of versions whose timestamps have at most `width` characters of ASCII."""
    fields = [("address", "V16"), ("timestamp", f"S{width}"), ("content", "V16"), ("row", "<u4")]
    return np.dtype(fields)


def _versions(path: str) -> Versions:
    """Returns the versions that a shard spilled."""
    parts = [_records(batch) for batch in spills.batches(path) if batch.num_rows]
    return np.concatenate([np.empty(0, _type(1)), *parts])  # of the longest timestamps


def _records(batch: pa.RecordBatch) -> Versions:
    """Returns a batch as records, by its buffers: a wave asks again, and values take 2 us each."""
    times = batch["timestamp"]
    width = max(1, int(pc.call_function("binary_length", [times]).to_numpy().max()))
    padded = pc.call_function("ascii_rpad", [times], pc.PadOptions(width, "\0"))
    records = np.empty(batch.num_rows, _type(width))
    records["timestamp"] = np.frombuffer(padded.buffers()[2], f"S{width}", batch.num_rows)
    for name in ("address", "content"):
        column = batch[name]
        start = column.offset * column.type.byte_width
        records[name] = np.frombuffer(column.buffers()[1], "V16", batch.num_rows, start)
    records["row"] = batch["row"].to_numpy()
    return records


def _older_in(
    sent: Sequence[tuple[int, Versions]], first: int, end: int
) -> Iterator[tuple[int, UInt32[np.ndarray, " rows"]]]:
    """Yields for each shard the rows, with addresses of a range, that are not the newest."""
    of_range = []
    for shard, versions in sent:
        begin, stop = between(_hashes(versions), first, end, 64)
        of_range.append((shard, versions[begin:stop]))
    older = _older(np.concatenate([versions for _, versions in of_range]))
    ends = np.cumsum([len(versions) for _, versions in of_range])[:-1]
    for (shard, versions), mask in zip(of_range, np.split(older, ends), strict=True):
        yield shard, versions["row"][mask]


def _older(versions: Versions) -> Bool[np.ndarray, " versions"]:
    """Returns which versions are not the newest of their address."""
    older = np.zeros(len(versions), dtype=bool)
    at = np.flatnonzero(has_equal(_hashes(versions)))  # most addresses occur once
    rivals = [
        PageVersion(
            bytes(version["address"]), version["timestamp"].decode(), bytes(version["content"])
        )
        for version in versions[at]
    ]
    older[at] = ~newest_per_url.newest(rivals)
    return older


def _hashes(versions: Versions) -> UInt64[np.ndarray, " versions"]:
    """Returns the first half of each address's hash."""
    addresses = np.ascontiguousarray(versions["address"])
    return addresses.view(">u8")[::2].astype(np.uint64)
