"""Which language example i is, in constant time and without history.

A schedule has fixed quotas: of every 65,536 examples (a block) each language gets the same number,
by cumulative rounding (so a share is off by less than 1/65,536), at pseudo-random places. Hence
the language of example i, and how many examples of that language came before it, are known from i
alone: no state, no prefix sums over earlier blocks. A block is laid out once, in some 6 ms, and the
last few are kept. Why not independent draws: docs/decisions/fixed-quotas.md.

Example i is of lane i mod 256. A language's quota is spread over the lanes as evenly as can be, the
same in every block, and only the order within a lane is shuffled. So a large language can be
divided into parts, of which lane l reads part l mod `parts` and no other; and as host h of H
reads the lanes l = h (mod H), it reads 1/H of such a language, for H = 2, 4, ..., 256.
docs/decisions/lanes.md says why.
"""

import functools
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
STRIDE = 97  # odd; scatters a language's quota over the lanes, so that no batch lacks it for long


class Draws(NamedTuple):
    """Which language each example is, and which of that language's examples.

    Attributes:
        languages: positions in `Schedule.languages`.
        parts: of the language; 0 where it is not divided.
        ordinals: how many examples of the same language and part came before.
    """

    languages: Int[np.ndarray, " examples"]
    parts: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `quotas`.
        quotas: examples of each language in a block; they sum to 65,536.
        seed: decides the order inside blocks.
        parts: into how many parts each language is divided, powers of two up to 256.
    """

    languages: tuple[str, ...]
    quotas: tuple[int, ...]
    seed: int
    parts: tuple[int, ...]

    def draw(self, indices: Int[np.ndarray, " examples"]) -> Draws:
        """Returns the languages of examples; cheapest when they lie close together."""
        blocks, places = np.divmod(indices, BLOCK)
        drawn = Draws(*(np.empty_like(indices) for _ in Draws._fields))
        for block in np.unique(blocks).tolist():
            here = blocks == block
            for all_values, values in zip(drawn, _layout(self, block), strict=True):
                all_values[here] = values[places[here]]
        earlier_blocks = blocks * self.part_quotas[drawn.languages, drawn.parts]
        return drawn._replace(ordinals=earlier_blocks + drawn.ordinals)

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        return self.quotas[self.languages.index(language)] / BLOCK

    @cached_property
    def part_quotas(self) -> Int[np.ndarray, "languages lanes"]:
        """Examples of each language and part in a block."""
        languages = self.unshuffled.reshape(-1)
        cells = languages * LANES + self._parts(languages)
        return np.bincount(cells, minlength=len(self.quotas) * LANES).reshape(-1, LANES)

    @cached_property
    def unshuffled(self) -> Int[np.ndarray, "rounds lanes"]:
        """A block in order: a language's quota lies on lanes 97 apart, round by round."""
        lanes = STRIDE * np.arange(LANES) % LANES
        unshuffled = np.empty((BLOCK // LANES, LANES), np.int64)
        unshuffled[:, lanes] = np.repeat(np.arange(len(self.quotas)), self.quotas).reshape(
            -1, LANES
        )
        return unshuffled

    def _parts(self, languages: Int[np.ndarray, " block"]) -> Int[np.ndarray, " block"]:
        return np.arange(BLOCK) % LANES % np.array(self.parts)[languages]


@functools.lru_cache(maxsize=4)
def _layout(plan: Schedule, block: int) -> Draws:
    """Returns language and part at each place of a block, and its rank among their places."""
    generator = np.random.Generator(np.random.Philox(hash_seed(plan.seed, block)))
    languages = generator.permuted(plan.unshuffled, axis=0).reshape(-1)
    parts = plan._parts(languages)
    cells = languages * LANES + parts
    order = np.argsort(cells, kind="stable")
    ranks = np.empty(BLOCK, np.int64)
    ranks[order] = np.arange(BLOCK) - np.searchsorted(cells[order], cells[order])
    return Draws(languages, parts, ranks)


def make_schedule(weights: Mapping[str, float], seed: int) -> Schedule:
    """Makes the schedule of a mixture, of undivided languages.

    Args:
        weights: positive weight of each language; they need not sum to 1.
        seed: decides the order.

    Raises:
        DataError: no language, or a weight so small that it never comes up.
    """
    if not weights or min(weights.values()) <= 0:
        raise DataError(
            f"A mixture needs positive weights, found {dict(weights)}; leave out the rest."
        )
    shares = np.array(list(weights.values())) / sum(weights.values())
    bounds = np.rint(np.concatenate([[0.0], np.cumsum(shares)]) * BLOCK).astype(np.int64)
    quotas = tuple(int(quota) for quota in np.diff(bounds))
    never = [code for code, quota in zip(weights, quotas, strict=True) if quota == 0]
    if never:
        raise DataError(
            f"The mixture gives {', '.join(never)} less than one example in {BLOCK}, that is "
            "never; leave them out or use a smaller alpha."
        )
    return Schedule(tuple(weights), quotas, seed, (1,) * len(quotas))
