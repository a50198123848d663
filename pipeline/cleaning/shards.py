"""How a job is cut: input files into shards, hashes into partitions, shards into chunks.

A shard is one work item; a chunk is the part of it in memory at one time; a partition is the part
of all shards' keys that is compared at one time. The cut follows from the input alone, never from
the workers, so it is the same when a job is resumed. A chunk of 8 M characters is 8 to 32 MB of
text. A partition has some 0.9 M lines, 4 to 10 MB of keys (0.057 lines per compressed byte of
input).

A shard sends one element to each partition, so the number of both is bounded: above 34 GB of input
shards grow, and above 137 GB partitions too. A crawl of 9 TB is 2,048 shards of 4 GB and 8,192
partitions: 17 million elements of some 30,000 lines, 120 kB. (No job of that size was run.)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data.reading.page import BrokenRecord, Page
from pipeline.beam.packing import packed


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Sizes of the parts of a job.

    Attributes:
        shard_bytes: bytes of input files per shard, unless one file is larger.
        chunk_characters: characters of text in memory at one time.
        partition_bytes: bytes of input per partition.
    """

    shard_bytes: int = 16 << 20
    chunk_characters: int = 8 << 20
    partition_bytes: int = 16 << 20


DEFAULT_CUT = Cut()
MOST_SHARDS = 2048  # twice as many where no two files fit together
RECORD_CHARACTERS = 200  # added per record, so that a chunk of empty ones ends too
MOST_PARTITIONS = 8192


class InputFile(NamedTuple):
    """A file of the input.

    Attributes:
        path: path or address.
        size: size in bytes.
        stamp: value that changes when the file is rewritten; "" where it is unknown.
    """

    path: str
    size: int
    stamp: str = ""


def shards(files: Sequence[InputFile], cut: Cut) -> list[list[str]]:
    """Returns the paths of each shard's files, in order."""
    full = max(cut.shard_bytes, -(-sum(file.size for file in files) // MOST_SHARDS))
    return [[file.path for file in shard] for shard in packed(files, full)]


def partitions(files: Iterable[InputFile], cut: Cut) -> int:
    """Returns the number of partitions, a power of two."""
    size = sum(file.size for file in files)
    return min(MOST_PARTITIONS, 1 << max(0, -(-size // cut.partition_bytes) - 1).bit_length())


def chunks(
    records: Iterable[Page | BrokenRecord], characters: int
) -> Iterator[tuple[list[Page], list[BrokenRecord]]]:
    """Yields the records in chunks; each ends once it has this number of characters."""
    pages: list[Page] = []
    broken: list[BrokenRecord] = []
    size = 0
    for record in records:
        if isinstance(record, BrokenRecord):
            broken.append(record)
        else:
            pages.append(record)
            size += len(record.text) + len(record.url)
        size += RECORD_CHARACTERS
        if size >= characters:
            yield pages, broken
            pages, broken, size = [], [], 0
    if pages or broken:
        yield pages, broken
