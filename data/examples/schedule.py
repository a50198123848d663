"""The language of example i, in constant time and without state.

A schedule has fixed quotas: in every block of 65,536 examples each language has the same number of
examples, by cumulative rounding (a share is off by less than 1/65,536), at pseudo-random positions.
The language of example i, and the number of earlier examples of that language, therefore follow
from i alone, without prefix sums over earlier blocks. A block is laid out once, in about 6 ms, and
the last few are cached. docs/decisions/fixed-quotas.md gives the reasons against independent draws.

Example i is in lane i mod 256. A language's quota is spread over the lanes as evenly as possible,
equally in every block, and only the order within a lane is shuffled. A large language can thus be
divided into parts: lane l reads only part l mod `parts`. Host h of H reads the lanes l = h (mod H)
and therefore 1/H of such a language, for H = 2, 4, ..., 256. docs/decisions/lanes.md gives the
reasons.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.errors import DataError
from data.examples.seeds import hash_seed

BLOCK = 65_536
LANES = 256
STRIDE = 97  # odd; distributes a language's quota over the lanes, and so over the batches


class Draws(NamedTuple):
    """The language of each example, and its position among that language's examples.

    Attributes:
        languages: positions in `Schedule.languages`.
        parts: part of the language; 0 if it is not divided.
        ordinals: number of earlier examples of the same language and part.
    """

    languages: Int[np.ndarray, " examples"]
    parts: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `quotas`.
        quotas: number of examples of each language per block; they sum to 65,536.
        seed: seed of the order within blocks.
        parts: number of parts of each language, powers of two up to 256.
    """

    languages: tuple[str, ...]
    quotas: tuple[int, ...]
    seed: int
    parts: tuple[int, ...]

    def draw(self, indices: Int[np.ndarray, " examples"]) -> Draws:
        """Returns the languages of examples; fastest if the examples are in few blocks."""
        blocks, places = np.divmod(indices, BLOCK)
        drawn = Draws(*(np.empty_like(indices) for _ in Draws._fields))
        for block in np.unique(blocks).tolist():
            here = blocks == block
            for all_values, values in zip(drawn, _layout(self, block), strict=True):
                all_values[here] = values[places[here]]
        earlier_blocks = blocks * self.part_quotas[drawn.languages, drawn.parts]
        return drawn._replace(ordinals=earlier_blocks + drawn.ordinals)

    def drawn(self, examples: int) -> Int[np.ndarray, "languages lanes"]:
        """Returns how many of the first examples are of each language and part."""
        blocks, rest = divmod(examples, BLOCK)
        languages, parts, _ = _layout(self, blocks)
        cells = languages[:rest] * LANES + parts[:rest]
        counts = np.bincount(cells, minlength=len(self.quotas) * LANES).reshape(-1, LANES)
        return blocks * self.part_quotas + counts

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        return self.quotas[self.languages.index(language)] / BLOCK

    @cached_property
    def part_quotas(self) -> Int[np.ndarray, "languages lanes"]:
        """Number of examples of each language and part per block."""
        languages = self.unshuffled.reshape(-1)
        cells = languages * LANES + self._parts(languages)
        return np.bincount(cells, minlength=len(self.quotas) * LANES).reshape(-1, LANES)

    @cached_property
    def unshuffled(self) -> Int[np.ndarray, "rounds lanes"]:
        """Languages of a block before shuffling: a quota fills lanes 97 apart, round by round."""
        lanes = STRIDE * np.arange(LANES) % LANES
        unshuffled = np.empty((BLOCK // LANES, LANES), np.int64)
        unshuffled[:, lanes] = np.repeat(np.arange(len(self.quotas)), self.quotas).reshape(
            -1, LANES
        )
        return unshuffled

    def _parts(self, languages: Int[np.ndarray, " block"]) -> Int[np.ndarray, " block"]:
        return np.arange(BLOCK) % LANES % np.array(self.parts)[languages]


@functools.lru_cache(maxsize=4)
def _layout(schedule: Schedule, block: int) -> Draws:
    """Returns language and part of each example of a block, and its rank among those of both."""
    generator = np.random.Generator(np.random.Philox(hash_seed(schedule.seed, block)))
    languages = generator.permuted(schedule.unshuffled, axis=0).reshape(-1)
    parts = schedule._parts(languages)
    cells = languages * LANES + parts
    order = np.argsort(cells, kind="stable")
    ranks = np.empty(BLOCK, np.int64)
    ranks[order] = np.arange(BLOCK) - np.searchsorted(cells[order], cells[order])
    return Draws(languages, parts, ranks)


def make_schedule(weights: Mapping[str, float], seed: int) -> Schedule:
    """Returns the schedule of a mixture, with undivided languages.

    Args:
        weights: positive weight of each language, of any sum.
        seed: seed of the order.

    Raises:
        DataError: if there is no language, or a weight is too small for one example per block.
    """
    if not weights or min(weights.values()) <= 0:
        raise DataError(
            f"A mixture needs positive weights, found {dict(weights)}; leave out the rest."
        )
    shares = np.array(list(weights.values())) / math.fsum(weights.values())
    bounds = np.rint(np.concatenate([[0.0], np.cumsum(shares)]) * BLOCK).astype(np.int64)
    quotas = tuple(int(quota) for quota in np.diff(bounds))
    never = [code for code, quota in zip(weights, quotas, strict=True) if quota == 0]
    if never:
        raise DataError(
            f"The mixture gives {', '.join(never)} less than one example in {BLOCK}, which is "
            "none; leave them out or use a smaller alpha."
        )
    return Schedule(tuple(weights), quotas, seed, (1,) * len(quotas))
