"""The named recipes, as plain functions; variants are made with `dataclasses.replace`.

Two recipes that are compared, such as `mt5-demo` and `switch-demo`, differ in `model.switch` only,
by construction (`sparse`), so a baseline is never weaker by accident.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.files.json_files import read_json, read_yaml
from pipeline.errors import ArtifactError
from pipeline.recipe import published, small
from pipeline.recipe.overrides import near_matches
from pipeline.recipe.recipe import Recipe, recipe_from_json

YAML = (".yaml", ".yml")  # endings; any other is JSON
_FUNCTIONS: tuple[Callable[[], Recipe], ...] = (
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
RECIPES = {one.__name__.replace("_", "-"): one for one in _FUNCTIONS}


def names() -> list[str]:
    """Returns the names of all recipes."""
    return list(RECIPES)


def summary(name: str) -> str:
    """Returns the first line of a recipe's documentation."""
    return (RECIPES[name].__doc__ or "").split("\n")[0]


def requested(name: str, config: Path | None) -> Recipe:
    """Returns the recipe of a name, or of a file.

    Args:
        name: name of a recipe; "" for the file.
        config: a run's recipe.json, or a recipe alone, in JSON or (`.yaml`, `.yml`) in YAML.

    Raises:
        ArtifactError: if not exactly one is given, the name or a setting is unknown, or the file is
            a fine-tuned run's, which no command trains from a recipe.
        DataError: if the file is missing or damaged.
    """
    if name and config is not None:
        raise ArtifactError(
            f"--recipe {name} and --config {config} both name a recipe; give one of them."
        )
    if not name and config is None:
        raise ArtifactError(
            "A run needs a recipe and none was given; give --recipe NAME (`mswitch recipes` lists "
            "them) or --config FILE."
        )
    if config is None:
        return get(name)
    if not config.is_file():
        raise ArtifactError(f"--config names {config}, which is not a file; name a recipe.json.")
    read = read_yaml if config.suffix in YAML else read_json
    value = read(config, dict[str, Any])
    recipe = recipe_from_json(value.get("recipe", value), str(config))
    if recipe.finetuning is not None:
        raise ArtifactError(
            f"--config names {config}, the recipe of a run fine-tuned on "
            f"{', '.join(recipe.finetuning.tasks)}; name that of the run before it, or fine-tune "
            "with `mswitch finetune`."
        )
    return recipe


def get(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        ArtifactError: if the name is unknown; the message offers near matches.
    """
    if name not in RECIPES:
        near = near_matches(name, names())
        raise ArtifactError(f"Recipe {name!r} is unknown.{near} `mswitch recipes` lists them.")
    return RECIPES[name]()
