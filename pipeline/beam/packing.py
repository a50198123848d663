"""Input files packed into shards by size, in order: the cut follows from the input alone."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A file with its size in bytes."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...


S = TypeVar("S", bound=Sized)


def packed(files: Iterable[S], shard_bytes: int) -> list[list[S]]:
    """Returns runs of files of at most `shard_bytes` together; a larger file is alone.

    No run is empty, and none could take the next one's first file.
    """
    shards: list[list[S]] = []
    size = 0
    for file in files:
        if not shards or size + file.size > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(file)
        size += file.size
    return shards
