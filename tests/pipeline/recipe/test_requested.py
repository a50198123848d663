import json
from pathlib import Path

import pytest

from pipeline.arguments import Hosts, Pretrain
from pipeline.errors import ArtifactError
from pipeline.pretrain import one_per_seed
from pipeline.recipe import named
from pipeline.recipe.recipe import override, recipe_to_json


def test_a_saved_recipe_is_read_back(tmp_path):
    recipe = override(named.get("switch-demo"), ["steps=7", "model.switch.experts=4"])
    value = recipe_to_json(recipe)
    for name, content in (("bare", value), ("run", {"recipe": value, "parameters": 3})):
        (tmp_path / name).write_text(json.dumps(content))
        assert named.requested("", tmp_path / name) == recipe


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("", None, "give one of them"),
        ("mt5-demo", Path("x"), "give one of them"),
        ("", Path("none/recipe.json"), "which is not a file"),
    ],
)
def test_one_recipe_is_named(name, config, said):
    with pytest.raises(ArtifactError, match=said):
        named.requested(name, config)


def test_each_seed_has_a_run_of_its_own():
    asked = Pretrain(recipe="mt5-demo", tokens="t", out=Path("runs/mt5"), seeds=(0, 7))
    runs = one_per_seed(asked)
    assert [str(run.out) for run in runs] == ["runs/mt5-0", "runs/mt5-7"]
    assert [run.overrides for run in runs] == [("seed=0",), ("seed=7",)]
    (alone,) = one_per_seed(Pretrain(recipe="mt5-demo", tokens="t", out=Path("o")))
    assert alone.out == Path("o")
    for wrong in ({"seeds": (1, 1)}, {"seeds": (1, 2), "hosts": Hosts(count=2)}):
        with pytest.raises(ArtifactError, match="give each seed once"):
            one_per_seed(Pretrain(recipe="mt5-demo", tokens="t", out=Path("o"), **wrong))
