"""Commands of experiments, which run for hours, are understood and leave trunks where they may."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from model.config import DistillationConfig
from pipeline.command_line import parse
from pipeline.commands.distill import Distill
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe

FOLDER = Path("experiments").absolute()
Chains = list[Sequence[Any]]


def of_long(load: Callable[[str], Any], out: Path) -> Chains:
    long = load("long")
    lengths = (*long.LENGTHS, *long.LONGER)
    chains = [long.chain(out, side, seed, lengths) for seed in (200, 201) for side in long.SIDES]
    return [[long.rate_run(out, "mt5", 1.4), long.rate_run(out, "switch", 2.0)], *chains]


def of_students(load: Callable[[str], Any], out: Path) -> Chains:
    students = load("students")
    return [students.baselines(out, 200), *(students.taught(out, seed) for seed in (200, 201))]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Returns a function that imports an experiment as its own directory does."""
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Returns a directory in which stage 0 has ended."""
    (tmp_path / "rate.json").write_text(json.dumps({"scale": 1.4}))
    return tmp_path


def commands(chain: Sequence[Any]) -> Iterator[Any]:
    return (parse(list(task.command)) for task in chain)


def recipe_of(command: Any) -> Recipe:
    recipe = get(command.recipe)
    if isinstance(command, Distill):
        recipe = replace(recipe, distillation=DistillationConfig())
    return override(recipe, command.overrides)


@pytest.mark.parametrize("chains", [of_long, of_students])
def test_settings_make_a_recipe_and_no_two_runs_share_a_place(
    chains: Callable[..., Chains], load: Callable[[str], Any], out: Path
):
    runs = [command for chain in chains(load, out) for command in commands(chain)]
    assert all(recipe_of(command).steps > 0 for command in runs)
    assert len({command.out for command in runs}) == len(runs) > 0


def test_branches_leave_at_checkpoints_that_their_trunks_keep(
    load: Callable[[str], Any], out: Path
):
    for chain in (of_long(load, out)[1], of_students(load, out)[0]):
        trunk, *branches = commands(chain)
        kept = recipe_of(trunk)
        assert branches
        for branch in branches:
            assert branch.branch_at % kept.keep_every == 0
            assert branch.branch_at <= kept.steps
            assert branch.branch_at / recipe_of(branch).steps == 0.75


def test_a_trunk_is_never_made_shorter(load: Callable[[str], Any], out: Path):
    long = load("long")

    def trunk(lengths: Sequence[int]) -> Recipe:
        first, *_ = commands(long.chain(out, "mt5", 200, lengths))
        return recipe_of(first)

    first = trunk(long.LENGTHS)
    assert first.steps == long.branch_at(long.LENGTHS[-1]) == 5_952
    (out / "mt5-200/trunk").mkdir(parents=True)
    (out / "mt5-200/trunk/recipe.json").write_text('{"recipe": {"steps": 5952}}')
    assert trunk(long.LENGTHS[:1]) == first
    assert trunk(long.LONGER).steps == long.branch_at(long.LONGER[-1])


def test_students_and_their_baselines_have_one_schedule(load: Callable[[str], Any], out: Path):
    baselines, taught, _ = of_students(load, out)
    _, *branches = commands(baselines)
    own = {recipe.steps: recipe for recipe in map(recipe_of, branches)}
    for student in map(recipe_of, commands(taught)):
        assert student.optimizer == own[student.steps].optimizer
        assert student.model == own[student.steps].model
        assert (student.rows, student.seed) == (own[student.steps].rows, 200)
