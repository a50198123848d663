"""A branch off a trunk ends as a run of its recipe from the first step; what differs is refused."""

from pathlib import Path

import numpy as np
import pytest
from training_runs import MESH, SIZES, lines, one_trainer_per_recipe, parameters

from pipeline import cli

RARELY = ("evaluate_every=20", "checkpoint_every=2")
AT, STEPS = 6, 10


@pytest.fixture(autouse=True, scope="module")
def traced_once():
    with one_trainer_per_recipe():
        yield


@pytest.fixture
def command(tokens):
    """A function from a run's directory, settings and options to the words of its command."""

    def words(out: Path, settings: list[str], *options: str) -> list[str]:
        asked = ["pretrain", "--recipe=mt5-demo", f"--tokens={tokens}", f"--out={out}", *options]
        return [*asked, "--set", "optimizer.warm_up_steps=2", *SIZES, MESH[0], *RARELY, *settings]

    return words


@pytest.fixture
def trunk(command, tmp_path) -> Path:
    out = tmp_path / "trunk"
    settings = ["mesh.expert=4", "steps=12", "optimizer.decay_from=1", "keep_every=6"]
    assert cli.run(command(out, settings)) == 0
    return out


def branch_of(command, trunk: Path, settings: list[str]) -> list[str]:
    settings = ["mesh.expert=4", f"steps={STEPS}", *settings]
    return command(trunk.parent / "branch", settings, f"--trunk={trunk}", f"--branch-at={AT}")


def test_a_branch_ends_as_a_run_of_its_recipe(command, trunk):
    assert sorted(path.name for path in (trunk / "checkpoints").iterdir()) == ["10", "12", "6"]
    assert cli.run(branch_of(command, trunk, [])) == 0
    whole = trunk.parent / "whole"
    settings = ["mesh.expert=4", f"steps={STEPS}", f"optimizer.decay_from={AT / STEPS}"]
    assert cli.run(command(whole, settings)) == 0
    branch = trunk.parent / "branch"
    assert lines(branch) == [line for line in lines(whole) if line["step"] > AT]
    for left, right in zip(parameters(branch, STEPS), parameters(whole, STEPS), strict=True):
        np.testing.assert_array_equal(left, right)
    assert cli.run(branch_of(command, trunk, [])) == 0  # finished: nothing is done again


def test_what_a_trunk_did_otherwise_is_refused(command, trunk, capsys):
    def refused(words: list[str]) -> str:
        assert cli.run(words) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "seed: there 0, asked 1" in refused(branch_of(command, trunk, ["seed=1"]))
    assert "run of 6 steps" in refused(branch_of(command, trunk, ["steps=6"]))
    away = [word.replace("branch-at=6", "branch-at=8") for word in branch_of(command, trunk, [])]
    assert "which has [6, 10, 12]" in refused(away)
    assert "a branch needs the first two" in refused([w for w in away if "branch-at" not in w])


def test_a_trunk_that_decays_before_the_branch_is_refused(command, tmp_path, capsys):
    trunk = tmp_path / "trunk"
    assert cli.run(command(trunk, ["mesh.expert=4", "steps=8", "optimizer.decay_from=0.5"])) == 0
    assert cli.run(branch_of(command, trunk, [])) == 2
    assert "falls from step 4 on" in " ".join(capsys.readouterr().err.split())
