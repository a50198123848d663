"""The command that follows a training: the other side's, then the report of both.

A comparison has two sides, a dense and a sparse run with equal settings. After the first of them
comes the training of the other, and after that the report.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from data.files.paths import Place, directories_in, exists
from pipeline.artifacts import is_finished
from pipeline.recipe import named
from pipeline.recipe.overrides import settings_between
from pipeline.recipe.recipe import Differs, Recipe, fixed_settings, recipe_to_json, with_rows
from pipeline.runs.directory import RECIPE, find_run


def counterpart(recipe: Recipe) -> str:
    """Returns the named recipe that differs in its experts alone; "" if there is none."""
    rows = recipe.model.vocabulary_rows
    for name in named.names():
        sparse = with_rows(named.get(name), rows)
        dense = replace(sparse, name=recipe.name, model=replace(sparse.model, switch=None))
        if sparse.model.switch is not None and dense == recipe:
            return name
    return ""


def other_side(recipe: Recipe) -> list[str]:
    """Returns the words that train the other side of a recipe with equal settings; none if unknown.

    A named recipe whose settings were changed has the named counterpart with the same changes.
    """
    lists = recipe.mixture_from or recipe.optimizer.rate_from or recipe.distillation
    if lists or recipe.name not in named.names():
        return []
    own = with_rows(named.get(recipe.name), recipe.model.vocabulary_rows)
    pairs = {name: counterpart(named.get(name)) for name in named.names()}
    if recipe.model.switch is not None:
        pairs = {sparse: dense for dense, sparse in pairs.items() if sparse}
    settings = settings_between(own, recipe)
    settings = [setting for setting in settings if not setting.startswith("model.switch.")]
    changed = ["--set", *settings] if settings else []
    other = pairs.get(recipe.name)
    return ["--recipe", other, *changed] if other else []


def run_beside(recipe: Recipe, out: Place) -> Place | None:
    """Returns a finished run of the other side that lies beside a run; None if there is none."""
    asked = compared_settings(recipe_to_json(recipe))
    for name in directories_in(out.parent):
        place = out.parent / name
        if place != out and is_finished(place) and exists(place / RECIPE):
            other = find_run(place).recipe
            is_other_side = (other["model"]["switch"] is None) != (recipe.model.switch is None)
            if is_other_side and compared_settings(other) == asked:
                return place
    return None


def compared_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings in which the sides of a comparison must agree."""
    named = {"name": None, "model": {**recipe["model"], "switch": None}}
    return fixed_settings(recipe, Differs.UNCLAIMED) | named


def following(recipe: Recipe, out: Place, tokens: object | None = None) -> tuple[object, ...]:
    """Returns the words of the command that makes or compares the other side of a finished run.

    Args:
        recipe: the run's recipe.
        out: its directory.
        tokens: its token blocks, as the user named them; None for a run on tasks.
    """
    if not recipe.evaluate_every or recipe.finetuning is not None:
        return "inspect", out
    beside = None if recipe.distillation else run_beside(recipe, out)
    if tokens is not None and beside is None and (words := other_side(recipe)):
        place = out.parent / words[1]
        return "pretrain", *words[:2], "--tokens", tokens, "--out", place, *words[2:]
    other = "RUN" if beside is None else beside
    sides = (other, out) if recipe.model.switch else (out, other)
    student = ()
    if recipe.distillation is not None:
        sides, student = ("RUN", "TEACHER"), ("--student", out)
    read = ("--corpus", "corpus", "--tokens", tokens) if tokens is not None else ()
    words = "report", "--baseline", sides[0], "--candidate", sides[1], *student, *read
    return *words, "--out", "report"
