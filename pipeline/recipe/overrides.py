"""Settings of a command line (`field=value`) on a recipe, and those between two recipes.

A value is typed by the field that it changes; an unknown name is an error that offers near ones.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pipeline.artifacts import json_leaves
from pipeline.errors import ArtifactError
from pipeline.fields import SYNONYMS
from pipeline.recipe.recipe import Recipe

NOUNS = {int: "a whole number", float: "a number"}


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Returns the recipe with `field=value` settings applied, such as `model.switch.experts=16`.

    Their order does not matter, except that the last of one field counts.

    Raises:
        ArtifactError: if a field is unknown or a value has the wrong type.
        ConfigurationError: if the values are out of range or do not fit together.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise ArtifactError(f"--set was given {setting!r}; write field=value.")
        _add(changes, recipe, path.split("."), text, path)
    return _with_changes(recipe, changes)


def check_seeds(seeds: Sequence[int], settings: Sequence[str]) -> None:
    """Checks that each seed is given once, and none as a setting too.

    Raises:
        ArtifactError: if a seed is given twice, or also as a setting.
    """
    asked = f"--seeds {' '.join(map(str, seeds))} was given"
    if len(set(seeds)) < len(seeds):
        raise ArtifactError(f"{asked}; give each seed once.")
    if seeds and (also := [setting for setting in settings if setting.startswith("seed=")]):
        raise ArtifactError(f"{asked} together with --set {also[-1]}; give one of them.")


def _add(changes: dict[str, Any], value: Any, path: list[str], text: str, whole: str) -> None:
    """Adds a parsed setting to `changes`, a dictionary nested as the recipe's objects are."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    known = [field.name for field in fields]
    if value is None:
        raise ArtifactError(
            f"--set {whole} was given, and the recipe has no {whole.rpartition(f'.{path[0]}')[0]}; "
            "model.switch is of a sparse recipe, such as switch-laptop, finetuning of mswitch "
            "finetune, and distillation of mswitch distill."
        )
    if path[0] not in known and path[0] in SYNONYMS:
        raise ArtifactError(f"--set {whole} was given; write --set {SYNONYMS[path[0]]}.")
    if path[0] not in known:
        offer = near_matches(path[0], known)
        raise ArtifactError(
            f"--set {whole} was given; there is no field {path[0]!r}.{offer} "
            f"Known: {', '.join(known) or 'none'}."
        )
    current = getattr(value, path[0])
    if len(path) > 1:
        _add(changes.setdefault(path[0], {}), current, path[1:], text, whole)
    else:
        changes[path[0]] = _parse(text, current, whole, get_type_hints(type(value))[path[0]])


def _with_changes(value: Any, changes: dict[str, Any]) -> Any:
    """Returns the object with all of its settings at once: some are valid only together."""
    fields = {
        name: _with_changes(getattr(value, name), new) if isinstance(new, dict) else new
        for name, new in changes.items()
    }
    return replace(value, **fields)


def _parse(text: str, current: Any, whole: str, hint: Any) -> Any:
    kind = type(current)
    if kind not in (int, float, str, bool):
        raise ArtifactError(
            f"--set {whole} was given; it is not a single value. Name one of its fields."
        )
    literals = get_args(hint) if get_origin(hint) is Literal else ()
    allowed = ("true", "false") if kind is bool else literals
    if allowed and text not in allowed:
        raise ArtifactError(f"--set {whole}={text} was given; write one of {', '.join(allowed)}.")
    if kind is bool:
        return text == "true"
    try:
        return kind(text.replace("_", "") if kind is int else text)
    except ValueError as error:
        raise ArtifactError(
            f"--set {whole}={text} was given; write {NOUNS[kind]}, for example {current}."
        ) from error


def settings_between(before: Recipe, after: Recipe) -> list[str]:
    """Returns the words after `--set` that make one recipe another with the same fields."""
    # Not as in recipe.json, which lacks a setting that is set back to its default.
    old, new = (json_leaves(asdict(recipe)) for recipe in (before, after))
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    return [
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in changed.items()
    ]


def near_matches(name: str, known: Sequence[str]) -> str:
    """Returns a question that offers names like the one given, or nothing."""
    near = difflib.get_close_matches(name, known, n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
