"""Prices of chips, as given on the command line: `4.2`, or one per generation, `v5p=4.2`."""

import math
from collections.abc import Sequence

from model.configuration_checks import ConfigurationError


def prices(texts: Sequence[str], generations: Sequence[str]) -> dict[str, float]:
    """Returns the price of a chip for an hour by generation; none if no price is given.

    Raises:
        ConfigurationError: if a price is not a number, a generation has none while others do, or
            one is named that is not planned.
    """
    if not texts:
        return {}
    found = {}
    for text in sorted(texts, key=lambda text: "=" in text):  # a generation's own price counts
        name, separator, number = text.rpartition("=")
        for generation in [name] if separator else generations:
            found[generation] = _number(text, number)
    if other := sorted(set(found) - set(generations)):
        raise ConfigurationError(
            f"--price names {', '.join(other)}, and planned is {', '.join(generations)}; correct "
            "the name or leave it out."
        )
    if missing := sorted(set(generations) - set(found)):
        raise ConfigurationError(
            f"--price has no price of {', '.join(missing)}; write --price {missing[0]}=PRICE."
        )
    return found


def _number(text: str, number: str) -> float:
    try:
        price = float(number)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise ConfigurationError(
            f"--price was given {text!r}; write a number, or GENERATION=NUMBER as in v5p=4.2."
        )
    return price
