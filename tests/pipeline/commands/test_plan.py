"""What a plan takes from its arguments."""

from pipeline.arguments import Plan
from pipeline.commands.plan import dense_recipe, requested_recipe
from pipeline.training.upcycling import carries_moments


def test_the_dense_run_of_an_upcycling_has_the_recipes_optimizer():
    """Else its moments would not be carried, and their memory not counted."""
    overrides = ("optimizer.rule=adamw", "model.vocabulary_rows=384", "steps=10")
    asked = Plan(recipe="switch-demo", upcycle="mt5-demo", topology="cpu:8", overrides=overrides)
    recipe = requested_recipe(asked)
    dense = dense_recipe(asked, recipe)
    assert dense is not None
    assert carries_moments(dense, recipe)
    assert (dense.optimizer.rule, dense.steps == 10) == ("adamw", False)
