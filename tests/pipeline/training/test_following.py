"""What a finished run and a dry run name as the next command: one that can be typed."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from data.files.json_files import write_json
from model.config import DistillationConfig
from pipeline import command_line
from pipeline.artifacts import claim, finish
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Differs, fixed_settings, recipe_to_json, with_rows
from pipeline.runs.directory import RECIPE
from pipeline.training.following import counterpart, following
from pipeline.training.run import expected_time


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


def test_after_a_changed_recipe_comes_its_counterpart_with_the_same_changes(tmp_path):
    changed = replace(with_rows(named.get("mt5-laptop"), 2048), steps=9, rows=64)
    found = list(map(str, following(changed, tmp_path / "mt5", "tokens")))
    asked = command_line.parse(found)
    assert (asked.recipe, asked.out) == ("switch-laptop", tmp_path / "switch-laptop")
    other = with_rows(override(named.get(asked.recipe), asked.overrides), 2048)
    assert replace(other, name=changed.name, model=changed.model) == changed
    back = list(map(str, following(other, tmp_path / "switch", "tokens")))
    asked = command_line.parse(back)
    assert with_rows(override(named.get(asked.recipe), asked.overrides), 2048) == changed


@pytest.mark.parametrize("first", ["mt5-laptop", "switch-laptop"])
def test_after_both_sides_comes_their_report_with_the_corpus(tmp_path, first):
    """Another run beside them, of other settings, is no side."""
    sides = {name: with_rows(named.get(name), 2048) for name in ("mt5-laptop", "switch-laptop")}
    (second,) = sides.keys() - {first}
    for name, recipe in (("other", replace(sides[first], seed=5)), ("one", sides[first])):
        settings = fixed_settings(recipe_to_json(recipe), Differs.UNCLAIMED)
        claim(tmp_path / name, "pretrain", settings, {})
        write_json(tmp_path / name / RECIPE, {"recipe": recipe_to_json(recipe)})
        finish(tmp_path / name, "pretrain", settings, {}, {"steps": recipe.steps})
    found = list(map(str, following(sides[second], tmp_path / "two", "tokens")))
    asked = command_line.parse(found)
    runs = {first: tmp_path / "one", second: tmp_path / "two"}
    assert (asked.baseline, asked.candidate) == ((runs["mt5-laptop"],), (runs["switch-laptop"],))
    assert (asked.corpus, asked.tokens) == ("corpus", "tokens")


def test_a_recipe_of_ones_own_is_compared():
    own = replace(named.get("mt5-laptop"), name="own")
    assert words(own)[:3] == ["report", "--baseline", "runs/mt5"]


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
