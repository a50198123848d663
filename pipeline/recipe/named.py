"""The named recipes, as plain functions; variants are made with `dataclasses.replace`.

Two recipes that are compared, such as `mt5-demo` and `switch-demo`, differ in `model.switch` only,
by construction (`sparse`), so a baseline is never weaker by accident.
"""

from collections.abc import Callable

from pipeline.errors import ArtifactError
from pipeline.recipe import published, small
from pipeline.recipe.recipe import Recipe, near_matches

RECIPES: tuple[Callable[[], Recipe], ...] = (
    small.mt5_demo,
    small.switch_demo,
    small.mt5_laptop,
    small.switch_laptop,
    small.mt5_multilingual,
    small.switch_multilingual,
    small.mt5_experiment,
    small.switch_experiment,
    small.t5_english,
    small.switch_english,
    published.mt5_small,
    published.mt5_base,
    published.mt5_large,
    published.mt5_xl,
    published.mt5_xxl,
    published.mswitch_base,
    published.t5_base,
    published.t5_large,
    published.t5_xxl,
    published.switch_base,
    published.switch_large,
    published.switch_xxl,
    published.switch_c,
    published.switch_1_75t,
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
