"""A run's directory says with which numerics and commits it was trained."""

from types import SimpleNamespace
from typing import Any

import pytest
from synthetic_runs import recipe_in_json

from data.files.json_files import write_json
from model import NUMERICS_VERSION
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.training import description
from pipeline.training.description import check_numerics, epochs_caution

DENSE, SPARSE = recipe_in_json(None), recipe_in_json(2)
SLOPED = DENSE | {"model": DENSE["model"] | {"distance_slope": 0.5}}


def begun_with(out, recipe=DENSE, **fields):
    write_json(out / "recipe.json", {"recipe": recipe} | fields)
    return out


@pytest.mark.parametrize(
    ("recipe", "version", "refused"),
    [
        (DENSE, NUMERICS_VERSION, None),
        (DENSE, 99, "version 99, which computes other numbers"),
        # Version 2 changed a sparse network's loss, version 3 only position biases' first weights.
        (DENSE, None, None),  # 0.1.0 recorded none
        (DENSE, 2, None),
        (SPARSE, 2, None),
        (SPARSE, None, "numerics version 4 and was begun with version 1"),
        # Until version 4 a slope was in the learned biases.
        (SLOPED, 4, None),
        (SLOPED, 3, "version 4 and was begun with version 3"),
    ],
)
def test_a_run_is_resumed_with_numerics_that_compute_its_numbers(
    tmp_path, recipe, version, refused
):
    check_numerics(tmp_path)  # killed before it was described
    recorded = {} if version is None else {"numerics_version": version}
    begun_with(tmp_path, recipe, **recorded)
    if refused is None:
        check_numerics(tmp_path)
        return
    with pytest.raises(ArtifactError, match=refused):
        check_numerics(tmp_path)


def test_every_commit_that_trained_a_run_is_recorded_once(tmp_path, monkeypatch):
    a, b, c = (letter * 40 for letter in "abc")
    begun_with(tmp_path, commits=[a, b])
    for now, expected in ((c, [a, b, c]), (a, [b, a]), (None, [a, b])):
        monkeypatch.setattr(description, "source_commit", lambda now=now: now)
        assert description._commits(tmp_path) == expected


@pytest.mark.parametrize(("times", "said"), [(40, ""), (200, "200 times; ")])
def test_tokens_that_are_read_too_often_are_a_caution_with_the_steps_of_four_times(times, said):
    recipe = override(named.get("mt5-demo"), ["steps=1000", "rows=10"])
    tokens = 10 * recipe.lengths.raw * 1000 // times
    blocks: Any = SimpleNamespace(counts=lambda *_: {"sw": tokens})
    caution = epochs_caution(recipe, blocks)
    assert bool(caution) == bool(said)
    assert said in caution
    assert not said or "steps=20 reads" in caution
