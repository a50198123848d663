"""How often each language is seen, and which language example i is.

Temperature sampling (mT5, section 3.1; its code's `rate_num_examples`): p(language) is proportional
to pages ** alpha, alpha = 0.3, over *pages*, not tokens. alpha 1 is proportional, 0 is uniform.

A schedule has fixed quotas: of every 65,536 examples each language gets the same number, by
cumulative rounding (so a share is off by less than 1/65,536), at pseudo-random places. Hence the
language of example i, and how many examples of that language came before it, cost constant time
for any i: no state, no prefix sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.errors import DataError
from data.permutation import permute

BLOCK = 65_536


class Draw(NamedTuple):
    """Which language an example is, and which of that language's examples.

    Attributes:
        language: position in `Schedule.languages`.
        ordinal: how many examples of the language the whole stream holds before this one's place
            in the language's own order; 0, 1, 2, ... each exactly once.
    """

    language: int
    ordinal: int


@dataclass(frozen=True)
class Schedule:
    """The language of every example.

    Attributes:
        languages: codes, in the order of `bounds`.
        bounds: cumulative quotas of a block, from 0 to 65,536; one more than languages.
        seed: decides the order inside blocks.
    """

    languages: tuple[str, ...]
    bounds: np.ndarray
    seed: int

    def draw(self, index: int) -> Draw:
        """Returns the language of example `index` in constant time."""
        block, place = divmod(index, BLOCK)
        slot = permute(place, BLOCK, hash_seed(self.seed, block))
        language = int(np.searchsorted(self.bounds, slot, side="right")) - 1
        start, end = int(self.bounds[language]), int(self.bounds[language + 1])
        return Draw(language, block * (end - start) + slot - start)

    def share(self, language: str) -> float:
        """Returns the language's exact share of all examples."""
        at = self.languages.index(language)
        return float(self.bounds[at + 1] - self.bounds[at]) / BLOCK


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
    never = [code for code, quota in zip(weights, np.diff(bounds), strict=True) if quota == 0]
    if never:
        raise DataError(
            f"The mixture gives {', '.join(never)} less than one example in {BLOCK}, that is never; "
            "leave them out or use a smaller alpha."
        )
    return Schedule(tuple(weights), bounds, seed)


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
