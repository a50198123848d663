"""A run's directory says with which numerics and commits it was trained."""

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from synthetic_runs import recipe_in_json

from model import NUMERICS_VERSION
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.training import description
from pipeline.training.description import check_numerics, epochs_caution

DENSE = recipe_in_json(None)


def begun_with(out, **fields):
    (out / "recipe.json").write_text(json.dumps({"recipe": DENSE} | fields))
    return out


def test_a_run_is_resumed_with_the_numerics_that_began_it(tmp_path):
    check_numerics(tmp_path)  # killed before it was described
    check_numerics(begun_with(tmp_path, numerics_version=NUMERICS_VERSION))
    with pytest.raises(ArtifactError, match="version 99, which computes other numbers"):
        check_numerics(begun_with(tmp_path, numerics_version=99))


def test_every_commit_that_trained_a_run_is_recorded_once(tmp_path, monkeypatch):
    recorded = ["a" * 40, "b" * 40]
    begun_with(tmp_path, commits=recorded)
    for now, expected in (("c" * 40, [*recorded, "c" * 40]), ("a" * 40, recorded[::-1])):
        monkeypatch.setattr(description, "source_commit", lambda now=now: now)
        assert description._commits(tmp_path) == expected
    monkeypatch.setattr(description, "source_commit", lambda: None)
    assert description._commits(tmp_path) == recorded


@pytest.mark.parametrize("version", [None, 2])
def test_a_run_resumes_where_only_first_weights_changed(tmp_path, version):
    """Version 2 changed a sparse network's loss, version 3 only position biases' first weights."""
    sparse = recipe_in_json(2)
    recorded = {} if version is None else {"numerics_version": version}  # 0.1.0 recorded none
    check_numerics(begun_with(tmp_path, **recorded))
    begun_with(tmp_path, recipe=sparse, **recorded)
    if version == 2:
        check_numerics(tmp_path)
        return
    with pytest.raises(ArtifactError, match=r"numerics version 4 and was begun with version 1"):
        check_numerics(tmp_path)


def test_a_run_whose_slope_was_in_its_learned_biases_is_not_resumed(tmp_path):
    sloped = DENSE | {"model": DENSE["model"] | {"distance_slope": 0.5}}
    check_numerics(begun_with(tmp_path, recipe=sloped, numerics_version=4))
    with pytest.raises(ArtifactError, match=r"version 4 and was begun with version 3"):
        check_numerics(begun_with(tmp_path, recipe=sloped, numerics_version=3))


def test_tokens_that_are_read_too_often_are_a_caution_with_the_steps_of_four_times():
    recipe = override(named.get("mt5-demo"), ["steps=1000", "rows=10"])
    per_step = 10 * recipe.lengths.raw
    for tokens, said in (
        (per_step * 1000 // 40, ""),
        (per_step * 5, "200 times; .* steps=20 reads"),
    ):
        blocks: Any = SimpleNamespace(counts=lambda *_, tokens=tokens: {"sw": tokens})
        caution = epochs_caution(recipe, blocks)
        assert bool(caution) == bool(said)
        assert re.search(said, caution)
