"""What a finished run and a dry run name as the next command: one that can be typed."""

import shlex
from dataclasses import replace
from pathlib import Path

from model.config import DistillationConfig
from pipeline import command_line
from pipeline.recipe import named
from pipeline.recipe.recipe import with_rows
from pipeline.training.run import counterpart, expected_time, following


def words(recipe, tokens="tokens") -> list[str]:
    return list(map(str, following(recipe, Path("runs/mt5"), tokens)))


def test_after_a_dense_recipe_comes_its_sparse_counterpart():
    recipe = with_rows(named.get("mt5-laptop"), 2048)
    found = words(recipe)
    assert shlex.join(found) == (
        "pretrain --recipe switch-laptop --tokens tokens --out runs/switch-laptop"
    )
    assert command_line.parse(found).recipe == "switch-laptop"


def test_a_counterpart_differs_in_its_experts_alone():
    found = {name: counterpart(named.get(name)) for name in named.names()}
    assert found["mt5-base"] == "mswitch-base"
    assert found["mt5-demo"] == "switch-demo"
    for dense, sparse in found.items():
        if sparse:
            ours, theirs = named.get(dense), named.get(sparse)
            assert ours.model == replace(theirs.model, switch=None)
            assert (ours.rows, ours.inputs, ours.steps) == (
                theirs.rows,
                theirs.inputs,
                theirs.steps,
            )


def test_a_changed_recipe_and_a_sparse_one_are_compared():
    """A named counterpart would differ in the settings that were changed."""
    changed = replace(named.get("mt5-laptop"), steps=9)
    assert words(changed)[:3] == ["report", "--baseline", "runs/mt5"]
    assert words(named.get("switch-laptop"))[3:5] == ["--candidate", "runs/mt5"]


def test_a_student_is_compared_beside_its_teacher():
    student = replace(named.get("mt5-laptop"), distillation=DistillationConfig())
    found = words(student)
    assert found[:7] == [
        *("report", "--baseline", "RUN", "--candidate", "TEACHER", "--student", "runs/mt5")
    ]
    assert command_line.parse(found).student == (Path("runs/mt5"),)


def test_without_evaluations_a_run_is_inspected():
    assert words(replace(named.get("mt5-laptop"), evaluate_every=0)) == ["inspect", "runs/mt5"]


def test_a_dry_run_names_the_plan_of_the_recipe_that_it_has(tmp_path):
    recipe = with_rows(named.get("mt5-laptop"), 2048)
    assert "--set model.vocabulary_rows=2048 --topology" in expected_time(recipe, tmp_path, 0)
    changed = replace(recipe, rows=recipe.rows * 2)
    assert "mswitch plan" not in expected_time(changed, tmp_path, 0)
