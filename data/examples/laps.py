"""The windows of one language in laps, going on from what was read before a mixture changed.

A language consists of pieces: its token blocks, and what later directories added to them. A piece
is divided into regions (`window_order`), of which each was read up to some window. The regions are
dealt to the parts that are drawn now, of which there may be fewer. A part's first lap ends the
present epoch: what is left of each of its regions. Every further lap is an epoch.

    ordinal -> lap and rank       (the first lap is shorter)
    rank -> piece and its rank    (pieces take turns evenly, so that new text is not kept for last)
    rank -> region and place      (the regions of a piece follow each other)

Counts follow by integer arithmetic, whatever the number of examples before. No window is read twice
before its region's epoch ends. Regions of one part end their epochs together.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Located(NamedTuple):
    """Where examples are: piece, region, and number of windows of that region read before."""

    pieces: Int[np.ndarray, " examples"]
    regions: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Laps:
    """The laps of one language.

    Attributes:
        counts: number of windows of each region.
        read: number of windows of each region read before.
        parts: number of parts that are drawn; it divides the number of regions.
    """

    counts: Int[np.ndarray, "pieces regions"]
    read: Int[np.ndarray, "pieces regions"]
    parts: int

    def locate(
        self, parts: Int[np.ndarray, " examples"], ordinals: Int[np.ndarray, " examples"]
    ) -> Located:
        """Returns where examples are, from their parts and their ordinals within these."""
        first = self.rest.sum((1, 2))[parts]
        begun = ordinals < first
        laps, ranks = np.divmod(ordinals - first, self.dealt_counts.sum((1, 2))[parts])
        ranks = np.where(begun, ordinals, ranks)
        among = begun[:, None, None]
        sizes = np.where(among, self.rest[parts], self.dealt_counts[parts])
        pieces, dealt, places = in_turns(sizes, ranks)
        epochs = np.where(begun, 0, self.epochs[parts] + 1 + laps)
        at = parts, pieces, dealt
        before = np.where(begun, self.dealt_read[at], epochs * self.dealt_counts[at])
        return Located(pieces, dealt * self.parts + parts, before + places)

    def after(self, drawn: Int[np.ndarray, " parts"]) -> Int[np.ndarray, "pieces regions"]:
        """Returns the number of windows of each region read once `drawn` examples were."""
        first = self.rest.sum((1, 2))
        begun = (drawn < first)[:, None, None]
        laps, ranks = np.divmod(drawn - first, self.dealt_counts.sum((1, 2)))
        sizes = np.where(begun, self.rest, self.dealt_counts)
        taken = taken_in_turns(sizes, np.where(drawn < first, drawn, ranks))
        epochs = (self.epochs + 1 + laps)[:, None, None] * self.dealt_counts
        read = np.where(begun, self.dealt_read, epochs) + taken
        return read.transpose(1, 2, 0).reshape(self.read.shape)

    @cached_property
    def epochs(self) -> Int[np.ndarray, " parts"]:
        """Latest epoch that a region of each part has begun."""
        counts = self.dealt_counts
        return (self.dealt_read // np.maximum(counts, 1)).max((1, 2), where=counts > 0, initial=0)

    @cached_property
    def rest(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows that are left of the present epoch."""
        return (self.epochs[:, None, None] + 1) * self.dealt_counts - self.dealt_read

    @cached_property
    def dealt_counts(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region, by the part that reads it."""
        return self._dealt(self.counts)

    @cached_property
    def dealt_read(self) -> Int[np.ndarray, "parts pieces dealt"]:
        """Number of windows of each region read before, by the part that reads it."""
        return self._dealt(self.read)

    def _dealt(
        self, numbers: Int[np.ndarray, "pieces regions"]
    ) -> Int[np.ndarray, "parts pieces dealt"]:
        return numbers.reshape(len(numbers), -1, self.parts).transpose(2, 0, 1)


def in_turns(
    sizes: Int[np.ndarray, "examples pieces dealt"], ranks: Int[np.ndarray, " examples"]
) -> tuple[
    Int[np.ndarray, " examples"], Int[np.ndarray, " examples"], Int[np.ndarray, " examples"]
]:
    """Returns piece, region and place of each rank, where pieces take turns evenly.

    Of the first r of all T windows, floor(r x O / T) are of the O windows of earlier pieces.
    """
    totals = sizes.sum(2)
    pieces, places = np.zeros_like(ranks), ranks
    undecided = np.ones(len(ranks), bool)
    for piece in range(totals.shape[1] - 1, 0, -1):
        earlier, total = _sums(totals, piece)
        before = places * earlier // total
        here = undecided & (before == (places + 1) * earlier // total)
        places = np.where(here, places - before, np.where(undecided, before, places))
        pieces[here] = piece
        undecided &= ~here
    ends = np.take_along_axis(sizes, pieces[:, None, None], 1)[:, 0].cumsum(1)
    dealt = (ends <= places[:, None]).sum(1)
    starts = np.where(dealt > 0, ends[np.arange(len(ranks)), dealt - 1], 0)
    return pieces, dealt, places - starts


def taken_in_turns(
    sizes: Int[np.ndarray, "parts pieces dealt"], ranks: Int[np.ndarray, " parts"]
) -> Int[np.ndarray, "parts pieces dealt"]:
    """Returns how many of the first `ranks` windows of each part are in each region."""
    totals = sizes.sum(2)
    taken = np.zeros_like(totals)
    for piece in range(totals.shape[1] - 1, 0, -1):
        earlier, total = _sums(totals, piece)
        taken[:, piece] = ranks - ranks * earlier // total
        ranks = ranks - taken[:, piece]
    taken[:, 0] = ranks
    return np.clip(taken[:, :, None] - (sizes.cumsum(2) - sizes), 0, sizes)


def _sums(
    totals: Int[np.ndarray, "rows pieces"], piece: int
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Returns the windows of the pieces before one, and with it (1 where there are none)."""
    earlier = totals[:, :piece].sum(1)
    return earlier, np.maximum(earlier + totals[:, piece], 1)
