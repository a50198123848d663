"""The dense run that a planned recipe begins as."""

from pipeline.planning.plan import dense_recipe
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.training.shapes import carries_moments


def test_the_dense_run_of_an_upcycling_has_the_recipes_optimizer():
    """Else its moments would not be carried, and their memory not counted."""
    overrides = ("optimizer.rule=adamw", "model.vocabulary_rows=384", "steps=10")
    recipe = override(named.get("switch-demo"), overrides)
    dense = dense_recipe("mt5-demo", overrides, recipe)
    assert dense is not None
    assert carries_moments(dense, recipe)
    assert (dense.optimizer.rule, dense.steps == 10) == ("adamw", False)
