"""Groups: the connected components of the pages that share keys, found in rounds.

A shard has the pairs of its pages, and for each of these pages a label, at first its own number. In
a round, all shards ask for each node of their pairs where it goes (`data.dedup.minhash`), and
then contract their pairs and move their labels. When no pair is left, pages with the same label are
a group. The rounds grow with the logarithm of the largest group.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64

from data.dedup.minhash import Edges, Moves, contracted, moved, pointers, proposals
from data.numbers import distinct, is_among
from pipeline.beam.waves import Parts, Wave, Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.exchange import by_partition
from pipeline.cleaning.near_duplicates.keys import PairPages, read_pairs, write_pairs
from pipeline.cleaning.sorted_keys import PartitionKeys
from pipeline.cleaning.tally import Tally, TallyRecord

PAIRS = "pairs"  # kind of count: pairs that a shard has left
CONTRACT = "contract"


@dataclass(frozen=True)
class ContractPairs:
    """Moves the labels of a shard's pages and contracts its pairs by the answers of a round.

    Spills both, and what the shard asks in the round that follows.

    Attributes:
        number: number of the round that follows; before the first there are no answers.
        alike: waves of the exchange that found the pairs.
        asked: waves of each round.
    """

    workspace: Workspace
    number: int
    alike: Waves
    asked: Waves

    @property
    def step(self) -> str:
        """Name in the workspace."""
        return f"{CONTRACT}-{self.number:02d}"

    def __call__(self, number: int) -> Tally:
        """Processes one shard."""
        labels, pairs = self._first(number) if self.number == 0 else self._next(number)
        space, asked = self.workspace, _asked(pairs, labels, self.number)
        write_pairs(space, _pairs_path(space, self.number, number), pairs)
        write_pairs(space, _labels_path(space, self.number, number), labels)
        write_pairs(space, _asked_path(space, self.number, number), asked)
        return Tally(counts=Counter({(PAIRS, "", ""): len(pairs)}))

    def _first(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        paths = [one.verdict(self.workspace, PairPages.step, shard) for one in self.alike.all()]
        pairs = np.unique(read_pairs(paths), axis=0)
        pages = distinct(pairs[:, 0])
        labels = np.stack([pages, pages], axis=1)
        return labels, pairs[pairs[:, 0] != pairs[:, 1]]

    def _next(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        space, before = self.workspace, self.number - 1
        step = AskForNodes(space, before, self.asked.partitions).step
        answers = read_pairs(one.verdict(space, step, shard) for one in self.asked.all())
        moves = Moves(answers[:, 0], answers[:, 1])
        pairs = read_pairs([_pairs_path(space, before, shard)])
        labels = read_pairs([_labels_path(space, before, shard)])
        labels = np.stack([labels[:, 0], moved(labels[:, 1], moves)], axis=1)
        return labels, contracted(pairs, moves)


def _asked(pairs: Edges, labels: Edges, number: int) -> Edges:
    """Returns the proposals for nodes, and a node itself for a label that is in no pair."""
    found = proposals(pairs, number)
    now = distinct(labels[:, 1])
    others = now[~is_among(now, found.node)]
    nodes = np.concatenate([found.node, others])
    asked = np.stack([nodes, np.concatenate([found.to, others])], axis=1).astype("<u8")
    return asked[np.argsort(nodes)]


@dataclass(frozen=True)
class AskForNodes:
    """A round: where each node of the pairs goes, and where the labels of finished pages are."""

    workspace: Workspace
    number: int
    partitions: int

    @property
    def step(self) -> str:
        """Name in the workspace."""
        return f"nodes-{self.number:02d}"

    def parts(self, shard: int, wave: Wave) -> Iterator[tuple[int, bytes]]:
        """Yields what a shard asks about its nodes."""
        asked = read_pairs([_asked_path(self.workspace, self.number, shard)])
        part = PartitionKeys(0, self.partitions, asked)
        for partition, some in by_partition(asked, asked[:, 0], part, self.partitions):
            if wave.first <= partition < wave.end:
                yield partition, some

    def compare(self, partition: int, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Yields where the nodes go that each shard asked for."""
        moves = pointers([_moves(part) for _, part in parts], self.number)
        for shard, part in parts:
            nodes = _moves(part).node
            yield shard, np.stack([nodes, moved(nodes, moves)], axis=1).tobytes()

    def collect(self, shard: int, wave: Wave, verdicts: dict[int, bytes]) -> None:
        """Writes where the nodes go, in ascending order of the nodes."""
        found = [np.frombuffer(verdicts[n], "<u8").reshape(-1, 2) for n in sorted(verdicts)]
        answers = np.concatenate([np.empty((0, 2), np.uint64), *found])
        write_pairs(self.workspace, wave.verdict(self.workspace, self.step, shard), answers)


def _moves(part: bytes) -> Moves:
    node, to = np.frombuffer(part, "<u8").reshape(-1, 2).T
    return Moves(node, to)


def pairs_left(workspace: Workspace, number: int, shards: int) -> int:
    """Returns how many pairs all shards have left before a round."""
    step = f"{CONTRACT}-{number:02d}"
    records = workspace.records(step, shards, TallyRecord)
    return sum(Tally.of_record(one).counts[PAIRS, "", ""] for one in records)


def groups_of(
    workspace: Workspace, shard: int
) -> tuple[UInt64[np.ndarray, " pages"], UInt64[np.ndarray, " pages"]]:
    """Returns the numbers of a shard's pages that have a group, ascending, and their groups."""
    number = 0
    while workspace.is_done(f"{CONTRACT}-{number + 1:02d}", shard):
        number += 1
    labels = read_pairs([_labels_path(workspace, number, shard)])
    return labels[:, 0], labels[:, 1]


def _pairs_path(workspace: Workspace, number: int, shard: int) -> str:
    return workspace.spill(f"{CONTRACT}-{number:02d}", shard, ".pairs")


def _labels_path(workspace: Workspace, number: int, shard: int) -> str:
    return workspace.spill(f"{CONTRACT}-{number:02d}", shard, ".labels")


def _asked_path(workspace: Workspace, number: int, shard: int) -> str:
    return workspace.spill(f"{CONTRACT}-{number:02d}", shard, ".asked")
