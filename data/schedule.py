"""Which language example i is, in constant time and without history.

A schedule has fixed quotas: of every 65,536 examples (a block) each language gets the same number,
by cumulative rounding (so a share is off by less than 1/65,536), at pseudo-random places. Hence
the language of example i, and how many examples of that language came before it, are known from i
alone: no state, no prefix sums over earlier blocks. A block is laid out once, in some 3 ms, and the
last few are kept. Why not independent draws: docs/decisions/fixed-quotas.md.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.errors import DataError

BLOCK = 65_536


class Draws(NamedTuple):
    """Which language each example is, and which of that language's examples.

    Attributes:
        languages: positions in `Schedule.languages`.
        ordinals: how many examples of the same language came before.
    """

    languages: Int[np.ndarray, " examples"]
    ordinals: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `quotas`.
        quotas: examples of each language in a block; they sum to 65,536.
        seed: decides the order inside blocks.
    """

    languages: tuple[str, ...]
    quotas: tuple[int, ...]
    seed: int

    def draw(self, indices: Int[np.ndarray, " examples"]) -> Draws:
        """Returns the languages of examples; cheapest when they lie close together."""
        blocks, places = np.divmod(indices, BLOCK)
        languages, ordinals = np.empty_like(indices), np.empty_like(indices)
        quotas = np.array(self.quotas)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            layout = _layout(self, block)
            languages[here] = layout.languages[places[here]]
            ordinals[here] = block * quotas[languages[here]] + layout.ordinals[places[here]]
        return Draws(languages, ordinals)

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        return self.quotas[self.languages.index(language)] / BLOCK


@functools.lru_cache(maxsize=4)
def _layout(plan: Schedule, block: int) -> Draws:
    """Returns the language at each place of a block, and its rank among its language's places."""
    generator = np.random.Generator(np.random.Philox(hash_seed(plan.seed, block)))
    languages = generator.permutation(np.repeat(np.arange(len(plan.quotas)), plan.quotas))
    ranks = np.empty(BLOCK, np.int64)
    ranks[np.argsort(languages, kind="stable")] = np.concatenate(
        [np.arange(quota) for quota in plan.quotas]
    )
    return Draws(languages, ranks)


def hash_seed(*parts: int) -> int:
    """Mixes numbers into one 64-bit seed; near numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def schedule(weights: Mapping[str, float], seed: int) -> Schedule:
    """Makes the schedule of a mixture.

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
    return Schedule(tuple(weights), quotas, seed)
