import dataclasses

import pytest

from model.config import ConfigurationError
from pipeline import recipes
from pipeline.artifacts import ArtifactError, differences


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_survives_json(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipes.from_json(recipes.to_json(recipe)) == recipe
    assert recipes.summary(name)


@pytest.mark.parametrize(
    ("baseline", "candidate"), [("mt5-demo", "switch-demo"), ("mt5-base", "mswitch-base")]
)
def test_compared_recipes_differ_in_the_feed_forward_only(baseline, candidate):
    dense, sparse = recipes.get(baseline), recipes.get(candidate)
    assert dense.model.switch is None
    sparse_model = dataclasses.replace(sparse.model, switch=None)
    assert dataclasses.replace(sparse, name=dense.name, model=sparse_model) == dense
    lines = differences(recipes.to_json(dense), recipes.to_json(sparse))
    assert {line.split(":")[0] for line in lines} == {"name", "model.switch"}


def test_groups_divide_the_batch_of_every_sparse_recipe():
    for name in recipes.names():
        recipe = recipes.get(name)
        if (switch := recipe.model.switch) is not None:
            assert recipe.rows * recipe.lengths.inputs % switch.encoder_group_tokens == 0
            assert recipe.rows * recipe.lengths.targets % switch.decoder_group_tokens == 0


def test_overrides_are_typed():
    recipe = recipes.override(
        recipes.get("switch-demo"),
        ["steps=1_000", "optimizer.scale=0.5", "model.switch.experts=16", "mixture=temperature:1"],
    )
    assert recipe.steps == 1000
    assert recipe.optimizer.scale == 0.5
    assert recipe.model.switch is not None
    assert recipe.model.switch.experts == 16
    assert recipe.mixture == "temperature:1"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("stepz=3", "Did you mean steps"),
        ("model.swich.experts=3", "Did you mean switch"),
        ("steps=many", "steps is int"),
        ("steps", "write field=value"),
        ("model=3", "not a single value"),
        ("model.embed.size=3", "none, it is not set"),
    ],
)
def test_unusable_overrides(setting, says):
    with pytest.raises(ArtifactError, match=says):
        recipes.override(recipes.get("mt5-demo"), [setting])


def test_a_value_out_of_range():
    with pytest.raises(ConfigurationError, match="steps was 0"):
        recipes.override(recipes.get("mt5-demo"), ["steps=0"])


def test_an_unknown_recipe_offers_a_near_one():
    with pytest.raises(ArtifactError, match="Did you mean mt5-base"):
        recipes.get("mt5-bass")
