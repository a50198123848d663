"""Waves of an exchange, and what a round of it does; without Beam, which calls them.

The embedded runner groups data in memory, which takes about six times the size of the data. There
an exchange is cut into several waves: ranges of hash partitions, each a job of its own. An engine
with a real shuffle needs only one wave.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from data.files.paths import names_in
from pipeline.beam.workspace import Workspace

Parts = Iterable[tuple[int, bytes]]
"""What a partition receives: the number of a shard, and its packed keys."""


class Wave(NamedTuple):
    """Partitions that are exchanged at one time: from `first` up to and without `end`."""

    first: int
    end: int

    def verdict(self, workspace: Workspace, step: str, shard: int) -> str:
        """Returns the path of what a shard collects in this wave of a round."""
        return workspace.spill(f"{step}.{self.first:05d}-{self.end:05d}", shard)


class Waves(NamedTuple):
    """The waves of an exchange.

    Attributes:
        partitions: number of partitions.
        at_once: number of partitions in a wave.
    """

    partitions: int
    at_once: int

    def all(self) -> Iterator[Wave]:
        """Yields the waves, in order."""
        for first in range(0, self.partitions, self.at_once):
            yield Wave(first, min(first + self.at_once, self.partitions))


NO_WAVES = Waves(0, 1)


class Round(Protocol):
    """One comparison over all shards; a frozen dataclass, as it is pickled for the workers."""

    @property
    def workspace(self) -> Workspace:
        """Workspace of the job."""
        ...

    @property
    def step(self) -> str:
        """Name of the round in the workspace."""
        ...

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields what a shard sends: a partition of the wave, and the packed keys for it."""
        ...

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields the verdicts of a partition: a shard, and what concerns it, packed."""
        ...

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes the verdicts for a shard, by partition, to `wave.verdict`."""
        ...


def is_collected(workspace: Workspace, step: str, wave: Wave, shards: int) -> bool:
    """Returns whether every shard has the verdicts of a wave, which then is not repeated."""
    folder = wave.verdict(workspace, step, 0).rpartition("/")[0]
    return len(names_in(folder)) == shards
