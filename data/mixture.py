"""How often each language is seen, and which language example i is.

Temperature sampling (mT5, section 3.1; its code's `rate_num_examples`): p(language) is proportional
to pages ** alpha, alpha = 0.3, over *pages*, not tokens. alpha 1 is proportional, 0 is uniform.

A schedule has fixed quotas: of every 65,536 examples (a block) each language gets the same number,
by cumulative rounding (so a share is off by less than 1/65,536), at pseudo-random places. Hence
the language of example i, and how many examples of that language came before it, are known from i
alone: no state, no prefix sums over earlier blocks. A block is laid out once, in some 10 ms, and
the last few are kept.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.errors import DataError

BLOCK = 65_536


class Draw(NamedTuple):
    """Which language an example is, and which of that language's examples.

    Attributes:
        language: position in `Schedule.languages`.
        ordinal: how many examples of the language came before it.
    """

    language: int
    ordinal: int


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `bounds`.
        quotas: examples of each language in a block; they sum to 65,536.
        seed: decides the order inside blocks.
    """

    languages: tuple[str, ...]
    quotas: tuple[int, ...]
    seed: int

    def draw(self, index: int) -> Draw:
        """Returns the language of example `index`."""
        block, place = divmod(index, BLOCK)
        languages, ranks = _layout(self, block)
        language = int(languages[place])
        return Draw(language, block * self.quotas[language] + int(ranks[place]))

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        return self.quotas[self.languages.index(language)] / BLOCK


@functools.lru_cache(maxsize=4)
def _layout(plan: Schedule, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the language at each place of a block, and its rank among its language's places."""
    generator = np.random.Generator(np.random.Philox(hash_seed(plan.seed, block)))
    languages = generator.permutation(np.repeat(np.arange(len(plan.quotas)), plan.quotas))
    ranks = np.empty(BLOCK, np.int64)
    ranks[np.argsort(languages, kind="stable")] = np.concatenate(
        [np.arange(quota) for quota in plan.quotas]
    )
    return languages, ranks


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


def temperature_weights(pages: Mapping[str, int], alpha: float) -> dict[str, float]:
    """Returns weights proportional to pages ** alpha, summing to 1.

    Raises:
        DataError: a language without pages.
    """
    empty = [code for code, count in pages.items() if count < 1]
    if empty or not pages:
        raise DataError(
            f"The mixture asks for languages without a page ({', '.join(empty) or 'none at all'}); "
            "leave them out."
        )
    powers = {code: float(count) ** alpha for code, count in pages.items()}
    total = sum(powers.values())
    return {code: power / total for code, power in powers.items()}


def parse(mixture: str, pages: Mapping[str, int]) -> dict[str, float]:
    """Returns the weights that a setting such as `temperature:0.3` names.

    Raises:
        DataError: another setting.
    """
    name, _, value = mixture.partition(":")
    try:
        if name == "temperature":
            return temperature_weights(pages, float(value))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
    raise DataError(f"Mixture {mixture!r} was asked; known is temperature:ALPHA, for example 0.3.")
