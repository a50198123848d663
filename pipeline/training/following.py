"""The commands that follow a training: the model in use, or the other side's, then their report.

A comparison has two sides, a dense and a sparse run with equal settings. The first of them is a
model already: a gap of its own languages is filled next, or the other side is trained. After that
comes the report of both.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from data.errors import DataError
from data.files.paths import Place, directories_in, exists
from pipeline.artifacts import RUN, is_finished
from pipeline.errors import ArtifactError
from pipeline.following import corpus_of, new_beside, option, with_digest
from pipeline.recipe import named
from pipeline.recipe.overrides import override, settings_between
from pipeline.recipe.recipe import (
    Differs,
    Recipe,
    fixed_settings,
    recipe_from_json,
    recipe_to_json,
    with_rows,
)
from pipeline.runs.directory import RECIPE, RunRecord, find_run
from pipeline.runs.uses import fill_command


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


def runs_beside(run: RunRecord, out: Place) -> Iterator[tuple[Place, RunRecord]]:
    """Yields the runs of the other side that lie beside a run, finished or not."""
    asked = compared_settings(run.recipe), run.inputs.get("tokens")
    is_dense = run.recipe["model"]["switch"] is None
    for name in directories_in(out.parent):
        place = out.parent / name
        if place != out and exists(place / RECIPE):
            with suppress(ArtifactError, DataError, OSError):  # a neighbour may be damaged
                other = find_run(place)
                is_other_side = (other.recipe["model"]["switch"] is None) != is_dense
                theirs = compared_settings(other.recipe), other.inputs.get("tokens")
                if is_other_side and theirs == asked:
                    yield place, other


def compared_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings in which the sides of a comparison must agree."""
    named = {"name": None, "model": {**recipe["model"], "switch": None}}
    return fixed_settings(recipe, Differs.UNCLAIMED) | named


def following(out: Place, tokens: Place | str | None = None) -> Iterator[object]:
    """Yields the words of the command that compares a finished run, or else uses it.

    Args:
        out: its directory.
        tokens: its token blocks, as the user named them; None for a run on tasks.
    """
    run = find_run(out)
    sides = () if tokens is None else finished_sides(run, out)
    if not sides or tokens is None:
        yield from fill_command(out) or ("inspect", out)
        return
    yield from ("report", "--baseline", sides[0], "--candidate", sides[1])
    yield from option("--student", sides[2:])
    yield from option("--corpus", [corpus_of(tokens)])
    yield from ("--tokens", tokens, "--out", new_beside(tokens, "report"))


def finished_sides(run: RunRecord, out: Place) -> tuple[Place, ...]:
    """Returns the dense and the sparse run that a report compares, then a student; () if one lacks.

    A student is compared beside its teacher, and with the teacher's other side.
    """
    if run.recipe.get("distillation") is not None:
        _, _, digest = run.inputs.get("teacher", "").rpartition(", ")  # `Teacher.identity`
        teacher = with_digest(out, RUN, digest)
        sides = () if teacher is None else finished_sides(find_run(teacher), teacher)
        return (*sides, out) if sides and teacher == sides[1] else ()
    other = next((place for place, _ in runs_beside(run, out) if is_finished(place)), None)
    if other is None:
        return ()
    return (other, out) if run.recipe["model"]["switch"] else (out, other)


def training_of_other_side(out: Place, tokens: Place | str) -> Iterator[object]:
    """Yields the words that train the other side; none if it is there, or its recipe is unknown."""
    run = find_run(out)
    recipe = recipe_from_json(run.recipe)
    words = [] if finished_sides(run, out) else other_side(recipe)
    if words:
        there = place_of_other_side(run, out, words)
        yield from ("pretrain", *words[:2], "--tokens", tokens, "--out", there, *words[2:])


def place_of_other_side(run: RunRecord, out: Place, words: list[str]) -> Place:
    """Returns where the other side is trained already by these words, or may be.

    A name that holds the word of one side is taken with that of the other: runs/mt5-1 has
    runs/switch-1 beside it.
    """
    recipe = recipe_from_json(run.recipe)
    asked = with_rows(override(named.get(words[1]), words[3:]), recipe.model.vocabulary_rows)
    for place, other in runs_beside(run, out):
        if other.recipe == recipe_to_json(asked):
            return place
    own, others = word_of(recipe), word_of(asked)
    return new_beside(out, out.name.replace(own, others) if own in out.name else others)


def word_of(recipe: Recipe) -> str:
    """Returns the word for a side in the name of a run: switch, mt5 or t5."""
    return "switch" if recipe.model.switch is not None else recipe.name.partition("-")[0]
