"""The named recipes, as plain functions; variants are made with `dataclasses.replace`.

Two recipes that are compared, such as `mt5-demo` and `switch-demo`, differ in `model.switch` only,
by construction (`sparse`), so a baseline is never weaker by accident.
"""

from collections.abc import Callable

from pipeline.errors import ArtifactError
from pipeline.recipe.published import (
    mswitch_base,
    mt5_base,
    mt5_large,
    mt5_small,
    mt5_xl,
    mt5_xxl,
    switch_1_75t,
    switch_base,
    switch_c,
    switch_large,
    switch_xxl,
    t5_base,
    t5_large,
    t5_xxl,
)
from pipeline.recipe.recipe import Recipe, near_matches
from pipeline.recipe.small import (
    mt5_demo,
    mt5_experiment,
    mt5_multilingual,
    switch_demo,
    switch_english,
    switch_experiment,
    switch_multilingual,
    t5_english,
)

RECIPES: tuple[Callable[[], Recipe], ...] = (
    mt5_demo,
    switch_demo,
    mt5_multilingual,
    switch_multilingual,
    mt5_experiment,
    switch_experiment,
    t5_english,
    switch_english,
    mt5_small,
    mt5_base,
    mt5_large,
    mt5_xl,
    mt5_xxl,
    mswitch_base,
    t5_base,
    t5_large,
    t5_xxl,
    switch_base,
    switch_large,
    switch_xxl,
    switch_c,
    switch_1_75t,
)


def names() -> list[str]:
    """Returns the names of all recipes."""
    return [recipe.__name__.replace("_", "-") for recipe in RECIPES]


def summary(name: str) -> str:
    """Returns the first line of a recipe's documentation."""
    return (RECIPES[names().index(name)].__doc__ or "").split("\n")[0]


def get(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        ArtifactError: if the name is unknown; the message offers near matches.
    """
    if name not in names():
        near = near_matches(name, names())
        raise ArtifactError(f"Recipe {name!r} is unknown.{near} `mswitch recipes` lists them.")
    return RECIPES[names().index(name)]()
