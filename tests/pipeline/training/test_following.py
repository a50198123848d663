"""What a finished run and a dry run name as the next command: one that can be typed."""

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

LAPTOP = named.get("mt5-laptop")


def words(recipe, out=Path("runs/mt5")):
    return list(map(str, following(recipe, out, "tokens")))


def test_a_counterpart_differs_in_its_experts_alone():
    found = {name: counterpart(named.get(name)) for name in named.names()}
    assert (found["mt5-base"], found["mt5-demo"]) == ("mswitch-base", "switch-demo")
    for dense, sparse in found.items():
        if sparse:
            ours, theirs = named.get(dense), named.get(sparse)
            assert ours.model == replace(theirs.model, switch=None)
            sizes = [(one.rows, one.inputs, one.steps) for one in (ours, theirs)]
            assert sizes[0] == sizes[1]


def test_after_a_recipe_comes_its_counterpart_with_the_same_changes(tmp_path):
    plain = words(with_rows(LAPTOP, 2048))
    expected = "pretrain --recipe switch-laptop --tokens tokens --out runs/switch-laptop"
    assert plain == expected.split()
    changed = replace(with_rows(LAPTOP, 2048), steps=9, rows=64)
    asked = command_line.parse(words(changed, tmp_path / "mt5"))
    assert (asked.recipe, asked.out) == ("switch-laptop", tmp_path / "switch-laptop")
    other = with_rows(override(named.get(asked.recipe), asked.overrides), 2048)
    assert replace(other, name=changed.name, model=changed.model) == changed
    back = command_line.parse(words(other, tmp_path / "switch"))
    assert with_rows(override(named.get(back.recipe), back.overrides), 2048) == changed


@pytest.mark.parametrize("first", ["mt5-laptop", "switch-laptop"])
def test_after_both_sides_comes_their_report_with_the_corpus(tmp_path, first):
    """Another run beside them, of other settings, is no side."""
    sides = {name: with_rows(named.get(name), 2048) for name in ("mt5-laptop", "switch-laptop")}
    (second,) = sides.keys() - {first}
    for name, recipe in (("other", replace(sides[first], seed=5)), ("one", sides[first])):
        run, settings = tmp_path / name, fixed_settings(recipe_to_json(recipe), Differs.UNCLAIMED)
        claim(run, "pretrain", settings, {})
        write_json(run / RECIPE, {"recipe": recipe_to_json(recipe)})
        finish(run, "pretrain", settings, {}, {"steps": recipe.steps})
    asked = command_line.parse(words(sides[second], tmp_path / "two"))
    runs = {first: tmp_path / "one", second: tmp_path / "two"}
    assert (asked.baseline, asked.candidate) == ((runs["mt5-laptop"],), (runs["switch-laptop"],))
    assert (asked.corpus, asked.tokens) == ("corpus", "tokens")


def test_a_recipe_of_ones_own_is_compared_a_student_beside_its_teacher_and_others_inspected():
    assert words(replace(LAPTOP, name="own"))[:3] == ["report", "--baseline", "runs/mt5"]
    found = words(replace(LAPTOP, distillation=DistillationConfig()))
    assert found[:5] == ["report", "--baseline", "RUN", "--candidate", "TEACHER"]
    assert command_line.parse(found).student == (Path("runs/mt5"),)
    assert words(replace(LAPTOP, evaluate_every=0)) == ["inspect", "runs/mt5"]


def test_a_dry_run_names_the_plan_of_the_recipe_that_it_has(tmp_path):
    recipe = with_rows(LAPTOP, 2048)
    assert "--set model.vocabulary_rows=2048 --topology" in expected_time(recipe, tmp_path, 0)
    changed = replace(recipe, rows=recipe.rows * 2)
    assert "mswitch plan" not in expected_time(changed, tmp_path, 0)
