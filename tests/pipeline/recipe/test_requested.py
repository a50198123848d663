import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from pipeline.commands.pretrain import Pretrain
from pipeline.errors import ArtifactError
from pipeline.fields import Hosts
from pipeline.recipe import named
from pipeline.recipe.finetuning import recipe_of_finetuning
from pipeline.recipe.overrides import override, settings_between
from pipeline.recipe.recipe import recipe_to_json
from pipeline.runs.directory import one_per_seed


def test_a_saved_recipe_is_read_back(tmp_path):
    recipe = override(named.get("switch-demo"), ["steps=7", "model.switch.experts=4"])
    value = recipe_to_json(recipe)
    contents = {"bare": json.dumps(value), "run": json.dumps({"recipe": value, "parameters": 3})}
    contents |= {f"recipe{ending}": yaml.safe_dump(value) for ending in named.YAML}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        assert named.requested_recipe("", tmp_path / name) == recipe


TUNED = recipe_of_finetuning(named.get("mt5-demo"), ["sib200"], [], targets=16, share=0.0)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("name: x", DataError, "missing required field `model`"),
        ("recipe: mt5-demo", DataError, "Expected `object`, got `str`"),
        ("- 1", DataError, "Expected `object`, got `array`"),
        (
            json.dumps({"recipe": recipe_to_json(TUNED)}),
            ArtifactError,
            r"fine-tuned on sib200; .* `mswitch finetune`",
        ),
    ],
)
def test_a_file_that_is_no_recipe_of_pretraining_is_one_sentence(tmp_path, content, error, said):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(error, match=said):
        named.requested_recipe("", tmp_path / "a.yaml")


@st.composite
def recipes(draw):
    """Recipes with fields that are valid only together."""
    recipe = named.get("switch-demo")
    every, weight_decay = draw(st.integers(1, 4)), draw(st.floats(0, 1))
    switch = replace(recipe.model.switch, every=every, experts=draw(st.integers(1, 4)))
    rule = "adamw" if weight_decay else draw(st.sampled_from(["adamw", "adafactor"]))
    checkpoint_every = draw(st.integers(1, 2000))
    return replace(
        recipe,
        model=replace(recipe.model, layers=every * draw(st.integers(1, 4)), switch=switch),
        optimizer=replace(recipe.optimizer, rule=rule, weight_decay=weight_decay),
        mesh=replace(recipe.mesh, data=draw(st.integers(1, 2))),
        checkpoint_every=checkpoint_every,
        keep_every=checkpoint_every * draw(st.integers(0, 3)),
        mixture=draw(st.sampled_from(["uniform", "weights:a=b"])),
    )


@settings(max_examples=20)
@given(recipes(), recipes())
def test_settings_that_are_valid_only_together_make_any_recipe_another(before, after):
    found = settings_between(before, after)
    assert override(before, found) == override(before, found[::-1]) == after
    assert settings_between(after, after) == []


def test_a_setting_that_is_set_back_to_its_default_is_named():
    """recipe.json leaves these out where they have their defaults."""
    switch = "model.switch"
    defaults = ["held_out_pages=0", "model.distance_slope=0.0", f"{switch}.shared_mlp=0"]
    defaults += [f"{switch}.quantile_rate=0.0", f"{switch}.balance_loss_over=group"]
    after = override(named.get("switch-demo"), defaults)
    others = ["held_out_pages=3", "model.distance_slope=0.5", f"{switch}.shared_mlp=16"]
    others += [f"{switch}.quantile_rate=0.5", f"{switch}.balance_loss_over=batch"]
    before = override(after, others)
    assert sorted(settings_between(before, after)) == sorted(defaults)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("", None, "A run needs a recipe"),
        ("mt5-demo", Path("x"), "give one of them"),
        ("", Path("none/recipe.json"), "which is not a file"),
    ],
)
def test_one_recipe_is_named(name, config, said):
    with pytest.raises(ArtifactError, match=said):
        named.requested_recipe(name, config)


def test_each_seed_has_a_run_of_its_own():
    runs = list(one_per_seed(Path("runs/mt5"), ("rows=8",), (0, 7)))
    assert runs == [
        (Path("runs/mt5-0"), ("rows=8", "seed=0")),
        (Path("runs/mt5-7"), ("rows=8", "seed=7")),
    ]
    assert list(one_per_seed(Path("o"), (), ())) == [(Path("o"), ())]
    for wrong in ({"seeds": (1, 1)}, {"seeds": (1, 2), "hosts": Hosts(count=2)}):
        with pytest.raises(ArtifactError, match=r"give each seed once|one command per seed"):
            Pretrain(recipe="mt5-demo", tokens="t", out=Path("o"), **wrong).check()
