"""Sampling weights of languages, from their sizes, under one of five settings.

    temperature:ALPHA          pages ** ALPHA; mT5 (section 3.1, code `rate_num_examples`) has 0.3
    proportional               the same with 1
    uniform                    the same with 0
    unimax:EPOCHS:CHARACTERS   UniMax (Chung et al. 2023, algorithm 1): as uniform as a budget of
                               CHARACTERS allows if no language is read more than EPOCHS times
    weights:FILE               the user's weights: JSON {"sw": 0.5} or lines "sw<TAB>0.5"

Temperature counts *pages*, not tokens, as in mT5. UniMax counts *characters*, as in umT5, which
assumes 4 characters per token: CHARACTERS is steps x rows x raw window x 4. A setting therefore
means the same for a vocabulary and for the run trained with it. All weights are positive and sum to
1; a language without a positive weight is an error and is not dropped silently.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from data.errors import DataError
from data.examples.given_weights import given_weights

SETTINGS = (
    "temperature:ALPHA (mT5: temperature:0.3), proportional, uniform, "
    "unimax:EPOCHS:CHARACTERS (umT5: unimax:1:4657152000000), weights:FILE"
)


class TextSizes(NamedTuple):
    """Amount of training text per language.

    Attributes:
        pages: number of pages of each language.
        characters: number of characters of the same languages.
    """

    pages: Mapping[str, int]
    characters: Mapping[str, int]


def parse(mixture: str, sizes: TextSizes) -> dict[str, float]:
    """Returns the weights of a setting.

    Raises:
        DataError: if the setting is unknown, or not possible with these sizes.
    """
    name, _, value = mixture.partition(":")
    match name, value.split(":") if value else []:
        case "temperature", [alpha]:
            return temperature_weights(sizes.pages, _number(alpha, mixture))
        case "proportional", []:
            return temperature_weights(sizes.pages, 1.0)
        case "uniform", []:
            return temperature_weights(sizes.pages, 0.0)
        case "unimax", [epochs, budget]:
            return unimax_weights(
                sizes.characters, _number(epochs, mixture), _number(budget, mixture)
            )
        case "weights", _ if value:
            return _normalized(given_weights(Path(value), sizes.pages))
    raise _unknown(mixture)


def weights_file(mixture: str) -> Path | None:
    """Returns the file that a setting reads, which is then one of the run's inputs."""
    name, _, value = mixture.partition(":")
    return Path(value) if name == "weights" and value else None


def temperature_weights(pages: Mapping[str, int], alpha: float) -> dict[str, float]:
    """Returns weights proportional to pages ** alpha, summing to 1.

    Raises:
        DataError: if a language has no pages, or the exponent is negative or NaN.
    """
    _check_sizes(pages, "page")
    if not alpha >= 0:  # NaN as well
        raise DataError(
            f"The mixture temperature:{alpha:g} was asked for; choose an exponent of at least 0 "
            "(0 is uniform). Below 0 the languages with the fewest pages would weigh most."
        )
    try:
        return _normalized({code: float(count) ** alpha for code, count in pages.items()})
    except OverflowError:
        raise DataError(
            f"The mixture raises numbers of pages to the power of {alpha:g}, which is beyond the "
            "numbers of a computer; choose an exponent nearer to 1."
        ) from None


def unimax_weights(
    characters: Mapping[str, int] | Mapping[str, float], epochs: float, budget: float
) -> dict[str, float]:
    """Returns UniMax's weights, summing to 1.

    The smallest language gets an equal share of the budget, or its text `epochs` times if that is
    less. The next one gets an equal share of the rest, and so on.

    Args:
        characters: size of each language.
        epochs: largest number of times that a language is read.
        budget: number of characters that the whole run reads.

    Raises:
        DataError: if a language has no text, or the epochs or the budget are not positive.
    """
    _check_sizes(characters, "character")
    if epochs <= 0 or budget <= 0:
        raise DataError(
            f"UniMax was asked for {epochs:g} epochs and {budget:g} characters; "
            "both must be above 0."
        )
    given: dict[str, float] = {}
    left = budget
    for code in sorted(characters, key=lambda code: characters[code]):
        given[code] = min(left / (len(characters) - len(given)), characters[code] * epochs)
        left -= given[code]
    return _normalized({code: given[code] for code in characters})


def _check_sizes(sizes: Mapping[str, int] | Mapping[str, float], what: str) -> None:
    empty = [code for code, count in sizes.items() if not count > 0]
    if empty or not sizes:
        raise DataError(
            f"The mixture contains languages without a {what} "
            f"({', '.join(empty) or 'none at all'}); leave them out."
        )


def _normalized(weights: Mapping[str, float]) -> dict[str, float]:
    try:
        total = math.fsum(weights.values())
    except OverflowError:
        total = math.inf
    shares = {code: weight / total for code, weight in weights.items()} if total else {}
    if not (total < math.inf and min(shares.values(), default=0) > 0):
        raise DataError(
            f"The weights of the mixture go from {min(weights.values()):g} to "
            f"{max(weights.values()):g}, and their shares are beyond the numbers of a computer; "
            "choose an exponent nearer to 1, or weights that are nearer to each other."
        )
    return shares


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise _unknown(where, f", in which {text!r} is not a number") from error
    if not math.isfinite(number):
        raise _unknown(where, f", in which {text!r} is not a finite number")
    return number


def _unknown(mixture: str, reason: str = "") -> DataError:
    return DataError(f"Mixture {mixture!r} was asked for{reason}; there are {SETTINGS}.")
