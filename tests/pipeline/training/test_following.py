"""What a finished run and a dry run name as the next command: one that can be typed."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.files.json_files import write_json
from model.config import DistillationConfig
from pipeline import command_line
from pipeline.artifacts import claim, digest_of_manifest, finish
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Differs, fixed_settings, recipe_to_json, with_rows
from pipeline.runs.directory import RECIPE
from pipeline.runs.finished import FilledGap
from pipeline.runs.uses import text_of
from pipeline.training.following import counterpart, following, training_of_other_side
from pipeline.training.run import expected_time

LAPTOP = named.get("mt5-laptop")


def write_run(run, recipe, inputs=None, *, finished=True):
    settings = fixed_settings(recipe_to_json(recipe), Differs.UNCLAIMED)
    claim(run, "pretrain", settings, inputs or {})
    write_json(run / RECIPE, {"recipe": recipe_to_json(recipe), "inputs": inputs or {}})
    if finished:
        finish(run, "pretrain", settings, inputs or {}, {"steps": recipe.steps})


def parsed(words):
    return command_line.parse(list(map(str, words)))


def test_a_counterpart_differs_in_its_experts_alone():
    found = {name: counterpart(named.get(name)) for name in named.names()}
    assert (found["mt5-base"], found["mt5-demo"]) == ("mswitch-base", "switch-demo")
    for dense, sparse in found.items():
        if sparse:
            ours, theirs = named.get(dense), named.get(sparse)
            assert ours.model == replace(theirs.model, switch=None)
            sizes = [(one.rows, one.inputs, one.steps) for one in (ours, theirs)]
            assert sizes[0] == sizes[1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("out", "expected"),
    [("runs/mt5", "runs/switch"), ("own/runs/mt5-1", "own/runs/switch-1"), ("dense", "switch")],
)
def test_after_a_recipe_comes_its_counterpart_with_the_same_changes_beside_it(here, out, expected):
    changed = replace(with_rows(LAPTOP, 2048), steps=9, rows=64)
    write_run(here / out, changed)
    asked = parsed(training_of_other_side(Path(out), "own/tokens"))
    assert (asked.recipe, asked.out, asked.tokens) == (
        "switch-laptop", Path(expected), "own/tokens"
    )  # fmt: skip
    other = with_rows(override(named.get(asked.recipe), asked.overrides), 2048)
    assert replace(other, name=changed.name, model=changed.model) == changed
    write_run(here / expected, other, finished=False)
    again = parsed(training_of_other_side(Path(out), "own/tokens"))
    assert again == asked  # the same command resumes what is begun
    other_tokens = {"tokens": "0" * 64}
    write_run(here / "elsewhere" / out, changed, other_tokens)
    write_run(here / "elsewhere" / expected, other, finished=False)
    beside = parsed(training_of_other_side(Path("elsewhere") / out, "own/tokens"))
    assert beside.out == Path("elsewhere") / f"{expected}-2"  # it reads other tokens


@pytest.mark.parametrize("first", ["mt5-laptop", "switch-laptop"])
def test_after_both_sides_comes_their_report_beside_the_tokens_that_they_read(here, first):
    """Another run beside them, of other settings, is no side; a corpus is found by its digest."""
    sides = {name: with_rows(named.get(name), 2048) for name in ("mt5-laptop", "switch-laptop")}
    (second,) = sides.keys() - {first}
    for name in ("pages", "other"):
        claim(here / "own" / name, "clean", {"of": name}, {})
        finish(here / "own" / name, "clean", {"of": name}, {}, {})
    read = {"corpus_0": digest_of_manifest(here / "own/pages")}
    claim(here / "own/tokens", "tokenize", {}, read)
    finish(here / "own/tokens", "tokenize", {}, read, {})
    tokens = {"tokens": digest_of_manifest(here / "own/tokens")}
    write_run(here / "own/other-seed", replace(sides[first], seed=5), tokens)
    write_run(here / "own/one", sides[first], tokens)
    write_run(here / "own/two", sides[second], tokens)
    asked = parsed(following(Path("own/two"), "own/tokens"))
    runs = {first: Path("own/one"), second: Path("own/two")}
    assert (asked.baseline, asked.candidate) == ((runs["mt5-laptop"],), (runs["switch-laptop"],))
    assert (asked.corpus, asked.tokens) == ("own/pages", "own/tokens")
    assert asked.out == Path("own/report")
    assert not [*training_of_other_side(Path("own/two"), "own/tokens")]
    (here / "own/report").mkdir()
    shutil.rmtree(here / "own/pages")
    asked = parsed(following(Path("own/two"), "own/tokens"))
    assert (asked.corpus, asked.out) == (None, Path("own/report-2"))


def test_a_student_is_compared_beside_its_teacher_and_a_run_without_gaps_inspected(here):
    sides = [with_rows(named.get(name), 2048) for name in ("mt5-laptop", "switch-laptop")]
    for name, recipe in zip(("dense", "sparse"), sides, strict=True):
        write_run(here / name, recipe)
    taught = replace(sides[0], distillation=DistillationConfig())
    teacher = f"switch-laptop, seed 0, {digest_of_manifest(here / 'sparse')}"
    write_run(here / "student", taught, {"teacher": teacher})
    asked = parsed(following(Path("student"), "tokens"))
    assert asked.student == (Path("student"),)
    assert (asked.baseline, asked.candidate) == ((Path("dense"),), (Path("sparse"),))
    shutil.rmtree(here / "dense")
    assert [*following(Path("student"), "tokens")] == ["inspect", Path("student")]
    write_run(here / "alone/own", replace(LAPTOP, name="own"))
    assert [*following(Path("alone/own"), "tokens")] == ["inspect", Path("alone/own")]
    assert not [*training_of_other_side(Path("alone/own"), "tokens")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Habari ya ", " leo?", "Habari ya <extra_id_0> leo"),
        ("Haba", "ri; 'rm -rf'", "Haba<extra_id_0>ri rm rf"),
        ("x" * 39 + " asubuhi na mapema ", "", "asubuhi na mapema <extra_id_0>"),
        ("", "leo", ""),
        ("\x1b[2J'$(", "leo", "2J <extra_id_0>leo"),
    ],
)
def test_a_gap_of_a_page_is_a_text_of_a_few_words_that_a_shell_takes_as_it_is(
    before, after, expected
):
    gap = FilledGap(language="sw", before=before, filled="", hidden="", after=after)
    assert text_of(gap) == expected
    assert shlex.split(shlex.join([expected])) == [expected]


def test_a_dry_run_names_the_plan_of_the_recipe_that_it_has(tmp_path):
    recipe = with_rows(LAPTOP, 2048)
    assert "--set model.vocabulary_rows=2048 --topology" in expected_time(recipe, tmp_path, 0)
    changed = replace(recipe, rows=recipe.rows * 2)
    assert "mswitch plan" not in expected_time(changed, tmp_path, 0)
