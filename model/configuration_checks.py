"""Checks of a configuration's fields; each failure is one sentence that names the field.

A configuration that is part of a recipe has a `SECTION`, so that the name is the one that `--set`
takes.
"""

import itertools
import math
from collections.abc import Callable, Sequence

LARGEST = 2**24  # of a width or a number of parts: 67 times mT5's vocabulary; products fit 64 bits


class ConfigurationError(ValueError):
    """Sizes or devices do not fit together; the message has the remedy."""


def ascending(name: str, steps: Sequence[int]) -> None:
    """Checks that steps ascend.

    Raises:
        ConfigurationError: if they do not.
    """
    if any(one >= other for one, other in itertools.pairwise(steps)):
        raise ConfigurationError(f"{name} has the steps {list(steps)}; they must ascend.")


def at_least_one(config: object, *names: str) -> None:
    """Checks that fields are 1 or more, and no larger than `LARGEST`.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: value >= 1, "1 or more")
    require(config, names, lambda value: value <= LARGEST, f"at most {LARGEST:,}")


def positive(config: object, *names: str) -> None:
    """Checks that fields are finite numbers above 0.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: 0 < value < math.inf, "a number above 0")


def not_negative(config: object, *names: str) -> None:
    """Checks that fields are finite numbers of at least 0.

    Raises:
        ConfigurationError: if a field is not; the message names it.
    """
    require(config, names, lambda value: 0 <= value < math.inf, "a finite number, 0 or more")


def require(
    config: object, names: tuple[str, ...], holds: Callable[[float], bool], requirement: str
) -> None:
    """Checks that a condition holds for fields.

    Args:
        config: object with the fields.
        names: names of the fields.
        holds: condition on a value.
        requirement: the condition in words.

    Raises:
        ConfigurationError: if it does not; the message names the field.
    """
    for name in names:
        if not holds(value := getattr(config, name)):
            whole = f"{getattr(config, 'SECTION', '')}{name}"
            raise ConfigurationError(f"{whole} was {value}; it must be {requirement}.")
