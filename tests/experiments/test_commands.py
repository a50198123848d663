"""Commands of experiments, which run for hours, are understood and leave trunks where they may."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from model.config import DistillationConfig
from pipeline.command_line import merge_repeated, parse
from pipeline.commands.distill import Distill
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe

FOLDER, OUT = Path("experiments").absolute(), Path("runs/out")
Chains = list[Sequence[Any]]


def of_word_pieces(load: Callable[[str], Any]) -> Chains:
    decayed, rows = load("decayed"), load("word_pieces").ROWS
    return [
        decayed.chain(OUT, side, side, seed, decayed.LENGTHS, rows)
        for seed in (0, 1)
        for side in decayed.SIDES
    ]


def of_variants(load: Callable[[str], Any]) -> Chains:
    return load("variants").chains(OUT, 0, load("decayed").LENGTHS[:1])


def of_wider(load: Callable[[str], Any]) -> Chains:
    return load("wider").chains(OUT, 0, load("decayed").LENGTHS[:1])


def of_students(load: Callable[[str], Any]) -> Chains:
    students, rows = load("students"), load("word_pieces").ROWS
    taught = [students.taught_by(OUT, 0, experts, rows) for experts in students.TEACHERS]
    return [students.baselines(OUT, 0, rows), *taught]


def of_balancers(load: Callable[[str], Any]) -> Chains:
    balancers = load("balancers")
    arguments = balancers.Arguments(tokens="tokens")
    runs = [balancers.Run(name, 0) for name in balancers.BALANCERS]
    return [[balancers.pretrain(arguments, run) for run in runs]]


def of_multilingual(load: Callable[[str], Any]) -> Chains:
    return [load("multilingual").pretraining(OUT)]


def of_capacity(load: Callable[[str], Any]) -> Chains:
    capacity = load("capacity")
    return [[capacity.pretrain(OUT, *capacity.words(trial)) for trial in capacity.TRIALS]]


EXPERIMENTS = (
    of_word_pieces,
    of_variants,
    of_wider,
    of_students,
    of_balancers,
    of_multilingual,
    of_capacity,
)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Returns a function that imports an experiment as its own directory does."""
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


def commands(chain: Sequence[Any]) -> Iterator[Any]:
    return (parse(merge_repeated(list(task.command))) for task in chain)


def recipe_of(command: Any) -> Recipe:
    recipe = get(command.recipe)
    if isinstance(command, Distill):
        recipe = replace(recipe, distillation=DistillationConfig())
    return override(recipe, command.overrides)


@pytest.mark.parametrize("chains", EXPERIMENTS)
def test_settings_make_a_recipe_and_no_two_runs_share_a_place(
    chains: Callable[..., Chains], load: Callable[[str], Any]
):
    runs = [command for chain in chains(load) for command in commands(chain)]
    assert all(recipe_of(command).steps > 0 for command in runs)
    assert len({command.out for command in runs}) == len(runs) > 0


def test_branches_leave_at_checkpoints_that_their_trunks_keep(load: Callable[[str], Any]):
    words = load("word_pieces").ROWS
    totals = list(commands(of_students(load)[0]))[:4]
    for trunk, *branches in ([*commands(of_word_pieces(load)[0])], totals):
        kept = recipe_of(trunk)
        assert f"{kept.model.vocabulary_rows}" in words
        assert branches
        for branch in branches:
            assert branch.branch_at % kept.keep_every == 0
            assert branch.branch_at <= kept.steps
            assert 0.7 < branch.branch_at / recipe_of(branch).steps < 0.8


def test_a_trunk_is_never_made_shorter(load: Callable[[str], Any], tmp_path: Path):
    decayed = load("decayed")

    def trunk(lengths: Sequence[int]) -> Recipe:
        first, *_ = commands(decayed.chain(tmp_path, "mt5", "mt5", 0, lengths))
        return recipe_of(first)

    first = trunk(decayed.LENGTHS[:2])
    assert first.steps == decayed.branch_at(decayed.LENGTHS[1])
    (tmp_path / "mt5-0" / "trunk").mkdir(parents=True)
    (tmp_path / "mt5-0" / "trunk" / "recipe.json").write_text('{"recipe": {"steps": 5952}}')
    assert trunk(decayed.LENGTHS[:1]) == first
    assert trunk(decayed.LENGTHS).steps == decayed.branch_at(decayed.LENGTHS[2])


def test_students_and_their_baselines_have_one_schedule(load: Callable[[str], Any]):
    taught, baselines = (list(commands(chain)) for chain in of_students(load)[1::-1])
    own = {recipe.steps: recipe for recipe in map(recipe_of, baselines[4:])}
    students = [recipe_of(command) for command in taught if isinstance(command, Distill)]
    assert len({student.steps for student in students}) == len(own)
    for student in students:
        assert student.optimizer == own[student.steps].optimizer
        assert student.model == own[student.steps].model


def test_balancers_that_a_table_holds_are_not_run_again(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    balancers, begun = load("balancers"), []
    monkeypatch.setattr(balancers, "run_all", begun.extend)
    results = {
        (balancers.Run(name, 0), capacity): {"de": balancers.OfLanguage(3.5, 0.125, 0.25)}
        for name in balancers.BALANCERS
        for capacity in balancers.CAPACITIES
    }
    arguments = balancers.Arguments(tokens="tokens", out=tmp_path, seeds=1)
    balancers.write(arguments, results)
    table = tmp_path / "balancers.csv"
    assert balancers.read(table, arguments) == results
    with pytest.raises(SystemExit, match=r"holds \['4032', '0.75'\]; name another --out"):
        balancers.read(table, replace(arguments, decay_from=0.4))
    balancers.main(arguments)
    assert begun == []
    printed = (tmp_path / "balancers.md").read_text()
    assert "| quantile | 1.25 | 1 | 3.5000 | – | 0 of 1 | 12.5% | 25.0% | 25.0% |" in printed
    table.write_text(table.read_text().replace("decay_from", "until", 1))
    with pytest.raises(SystemExit, match="holds other columns; name another --out"):
        balancers.main(arguments)
