"""A branch off a trunk ends as a run of its recipe from the first step; what differs is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import to_builtins
from training_runs import MESH, SIZES, lines, parameters, refused

from data.files.json_files import read_json, write_json
from model.config import RateFrom
from pipeline import cli
from pipeline.artifacts import MANIFEST, read_head, renew
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.recipe import MixtureFrom
from pipeline.runs.directory import RECIPE, saved_steps
from pipeline.training.start import State

pytestmark = pytest.mark.usefixtures("traced_once")

RARELY = ("evaluate_every=20", "checkpoint_every=2")
AT, STEPS = 6, 10


@pytest.fixture(scope="module")
def command(tokens):
    """A function from a run's directory, settings and options to the words of its command."""

    def words(out: Path, settings: list[str], *options: str) -> list[str]:
        asked = ["pretrain", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={out}", *options]
        return [*asked, "--set", "optimizer.warm_up_steps=2", *SIZES, *MESH, *RARELY, *settings]

    return words


@pytest.fixture(scope="module")
def trunk(command, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trunk") / "run"
    assert cli.run(command(out, ["steps=12", "optimizer.decay_from=1", "keep_every=6"])) == 0
    return out


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> Path:
    """A run of the branch's recipe from its first step on."""
    out = tmp_path_factory.mktemp("whole") / "run"
    settings = [f"steps={STEPS}", f"optimizer.decay_from={AT / STEPS}"]
    assert cli.run(command(out, settings)) == 0
    return out


@pytest.fixture
def branch_of(command, tmp_path):
    """A function from a trunk, a step and settings to the words of a branch's command."""

    def words(trunk: Path, *settings: str, at: int = AT) -> list[str]:
        options = f"--trunk={trunk}", f"--branch-at={at}"
        return command(tmp_path / "branch", [f"steps={STEPS}", *settings], *options)

    return words


@pytest.mark.slow
def test_a_branch_ends_as_a_run_of_its_recipe(branch_of, trunk, whole, tmp_path):
    assert saved_steps(trunk) == [6, 10, 12]
    assert cli.run(branch_of(trunk)) == 0
    branch = tmp_path / "branch"
    assert lines(branch) == [line for line in lines(whole) if line["step"] > AT]
    for left, right in zip(parameters(branch, STEPS), parameters(whole, STEPS), strict=True):
        np.testing.assert_array_equal(left, right)
    assert cli.run(branch_of(trunk)) == 0  # finished: nothing is done again
    head = read_head(branch)
    renew(branch, "pretrain", head.settings, head.inputs)  # killed before it was finished
    moved = tmp_path / "moved"
    assert cli.run([*branch_of(moved), "--dry-run"]) == 0
    assert cli.run(branch_of(moved)) == 0  # needs its trunk no more
    assert read_head(branch).inputs == head.inputs


@pytest.mark.slow
def test_what_a_trunk_changes_after_the_branch_is_nothing_to_it(branch_of, trunk, tmp_path, capsys):
    other = tmp_path / "trunk"
    shutil.copytree(trunk, other)
    about = read_json(other / RECIPE, dict)
    about["inputs"] |= dict.fromkeys(("tokens_from_6", "weights_from_5"), "0" * 64)

    def changed(step: int, rate: bool = True) -> int:
        mixtures = {"mixture_from": [to_builtins(MixtureFrom(step=step, mixture="proportional"))]}
        rates = {"rate_from": [to_builtins(RateFrom(step=step))] if rate else []}
        optimizer = {"optimizer": about["recipe"]["optimizer"] | rates}
        recipe = about["recipe"] | mixtures | optimizer
        manifest = read_json(other / MANIFEST, dict)
        settings = manifest["settings"] | mixtures | optimizer
        write_json(other / MANIFEST, manifest | {"settings": settings})
        write_json(other / RECIPE, about | {"recipe": recipe})
        return cli.run([*branch_of(other), "--dry-run"])

    assert changed(AT) == 0
    assert f" {STEPS - AT} steps after step {AT}," in capsys.readouterr().out
    assert "tokens_from_6" not in State(other, AT).inputs({})
    capsys.readouterr()
    assert changed(AT - 1) == 2
    assert f"changed at step {AT - 1}; branch there" in " ".join(capsys.readouterr().err.split())
    assert changed(AT - 1, rate=False) == 2
    assert "mixture_from: there" in " ".join(capsys.readouterr().err.split())
    assert "weights_from_5" in State(other, AT).inputs({})


def test_tokens_of_a_change_may_lie_elsewhere():
    """Their digests are compared. Whether they changed at all must be the same."""
    recipe = named.get("mt5-demo")
    three = (
        replace(recipe, mixture_from=(MixtureFrom(step=3, mixture="uniform", tokens=place),))
        for place in ("tokens-2026", "/data/tokens-2026", "")
    )
    branch = State(Path("trunk"), AT)
    one, moved, unchanged = (branch._shared_settings(recipe) for recipe in three)
    assert one == moved != unchanged


@pytest.mark.slow
def test_what_a_trunk_did_otherwise_is_refused(branch_of, trunk, whole, capsys):
    away = branch_of(trunk, at=8)
    for words, message in (
        (branch_of(trunk, "seed=1"), "seed: there 0, asked 1"),
        (branch_of(trunk, "steps=6"), "run of 6 steps"),
        (away, "which has [6, 10, 12]"),
        ([word for word in away if "branch-at" not in word], "was given; a branch needs"),
        ([word.replace("--trunk", "--upcycle") for word in away], "--branch-at 8 was given"),
        (branch_of(whole, "steps=12", at=8), "falls from step 6 on"),
    ):
        assert message in refused(capsys, *words)


@pytest.mark.slow
def test_inputs_that_have_changed_since_the_trunk_read_them_are_refused(trunk):
    recorded = State(trunk, AT).inputs({})
    assert State(trunk, AT).inputs(recorded) == recorded
    with pytest.raises(ArtifactError, match="other contents of tokens than the trunk read; rest"):
        State(trunk, AT).inputs(recorded | {"tokens": "0" * 64})
