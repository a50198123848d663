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


def of_opponents(load: Callable[[str], Any], out: Path) -> Chains:
    opponents = load("opponents")
    chains = [
        *opponents.rate_chains(out, opponents.RATES),
        *opponents.rate_chains(out, opponents.WIDE),
        *opponents.trained_chains(out, opponents.WIDE),
        *opponents.trained_chains(out, opponents.LONGER),
    ]
    return [[run.task for run in chain] for chain in chains]


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


@pytest.fixture
def measured(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Returns a function that says that runs are there; their loss is 3 nats at scale 1.4."""
    opponents = load("opponents")
    monkeypatch.setattr(opponents, "MEASURED", tmp_path / "measured")
    monkeypatch.setattr(opponents.long, "held_out_loss", lambda run: 3 + ("-1.4" not in run.name))

    def make(*names: str) -> None:
        for name in names:
            place = tmp_path / "measured" / name / "manifest.json"
            place.parent.mkdir(parents=True)
            place.write_text("{}")

    return make


@pytest.fixture
def with_rates(load: Callable[[str], Any], measured: Callable[..., None], out: Path) -> None:
    opponents = load("opponents")
    for group in (opponents.RATES, opponents.WIDE):
        measured(*(run.name for chain in opponents.rate_chains(out, group) for run in chain))


@pytest.mark.usefixtures("with_rates")
@pytest.mark.parametrize("chains", [of_long, of_students, of_opponents])
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


def test_an_opponents_rates_are_compared_when_all_are_there(
    load: Callable[[str], Any], measured: Callable[..., None]
):
    opponents = load("opponents")
    network, _ = opponents.OPPONENTS
    measured("rate/mt5-40-1.0", "rate/mt5-40-1.4")
    with pytest.raises(SystemExit, match=r"rate/mt5-40-2\.0 is not"):
        opponents.best_scale(network)
    measured("rate/mt5-40-2.0")
    assert opponents.best_scale(network) == 1.4


@pytest.mark.usefixtures("with_rates")
def test_losses_of_a_length_are_compared_when_all_its_runs_are_there(
    load: Callable[[str], Any],
    measured: Callable[..., None],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    opponents = load("opponents")
    reports: list[Sequence[str]] = []
    monkeypatch.setattr(opponents, "stage", lambda out, *command: reports.append(command))
    names = [f"mt5-{width}-1.4-{seed}" for width in (40, 48) for seed in range(200, 204)]
    measured(*(f"{name}/7936" for name in names[1:]))
    with pytest.raises(SystemExit, match=r"missing: mt5-40-1\.4-200/7936\."):
        opponents.compare(out, 7_936)
    measured("mt5-40-1.4-200/7936")
    opponents.compare(out, 7_936)
    ((report, baseline, first, *_),) = reports
    assert (report, baseline) == ("report", "--baseline")
    assert first.endswith("mt5-48-1.4-200/7936")
    with pytest.raises(SystemExit, match=r"mt5-48-1\.4-203/31744"):
        opponents.compare(out, 31_744)


@pytest.mark.usefixtures("with_rates")
def test_what_was_measured_is_not_made_again(
    load: Callable[[str], Any], measured: Callable[..., None], out: Path
):
    opponents = load("opponents")
    chain, *_ = opponents.trained_chains(out, opponents.FIRST)
    trunk, short, whole = chain
    measured(short.name)
    assert opponents.needed(chain) == [trunk, whole]
    measured(whole.name)
    assert opponents.needed(chain) == []


def test_of_a_run_that_has_ended_its_measurements_are_kept(
    load: Callable[[str], Any], measured: Callable[..., None], out: Path
):
    opponents = load("opponents")
    (run,), *_ = opponents.rate_chains(out, opponents.RATES)
    for name in ("manifest.json", "recipe.json", "evaluation/step=9.parquet", "checkpoints/9.json"):
        place = out / run.name / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    assert not run.is_measured
    opponents.keep(out, run.task)
    assert run.is_measured
    kept = opponents.MEASURED / run.name
    files = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert files == ["evaluation/step=9.parquet", "manifest.json", "recipe.json"]
    assert "0 of 7 runs" not in opponents.state(out).splitlines()[0]


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
