"""How far the languages of a run are read, and which token blocks continue those read before."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.examples.laps import Laps
from data.examples.window_order import WindowOrder
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import Shard


class Piece(NamedTuple):
    """Adjacent shards of a language, which are read as one ring.

    Attributes:
        shards: the shards.
        order: order of windows; of several languages.
        row: the language's number in that order.
    """

    shards: tuple[Shard, ...]
    order: WindowOrder
    row: int


class Reading(NamedTuple):
    """How far a language is read.

    Attributes:
        pieces: its token blocks.
        read: number of windows of each region read so far.
    """

    pieces: tuple[Piece, ...]
    read: Int[np.ndarray, "pieces regions"]

    @property
    def counts(self) -> Int[np.ndarray, "pieces regions"]:
        """Number of windows of each region."""
        regions = self.read.shape[1]
        return np.stack([one.order.counts[one.row, :regions] for one in self.pieces])

    @property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        return [shard for piece in self.pieces for shard in piece.shards]


def continued(
    languages: Sequence[str], before: Mapping[str, Reading], blocks: TokenBlocks
) -> list[str]:
    """Returns the languages whose blocks begin with those that were read before.

    Each earlier piece must still have an unskipped page, as its windows are read from it alone.
    """
    return [
        code
        for code in languages
        if code in before and _begins_with(blocks.shards(code, "train"), before[code])
    ]


def _begins_with(shards: Sequence[Shard], old: Reading) -> bool:
    """Returns whether shards begin with these contents, under whatever names."""
    first = 0
    for piece in old.pieces:
        here = shards[first : first + len(piece.shards)]
        same = [one.sha256 for one in here] == [one.sha256 for one in piece.shards]
        if not same or not sum(one.left("tokens") for one in here):
            return False
        first += len(piece.shards)
    return True


def joined(old: Reading | None, piece: Piece, regions: int) -> Reading:
    """Returns the reading of a language with one more piece, unread in the present epoch."""
    if old is None:
        return Reading((piece,), np.zeros((1, regions), np.int64))
    if not sum(shard.left("tokens") for shard in piece.shards):
        return old
    epoch = Laps(old.counts, old.read, regions).epochs
    added = epoch * piece.order.counts[piece.row, :regions]
    return Reading((*old.pieces, piece), np.concatenate([old.read, added[None]]))
