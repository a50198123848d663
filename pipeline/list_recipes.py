"""`mswitch recipes [NAME]`: the recipes, or one resolved with its parameters and FLOPs.

Parameters are counted from shapes alone; no weight is made, so a trillion cost no memory.
"""

import json

import equinox as eqx
import jax
from rich.console import Console
from rich.table import Table

from model.config import ModelConfig, forward_flops
from model.transformer import Transformer, parameter_count
from pipeline import recipes
from pipeline.arguments import Recipes


def run(arguments: Recipes) -> None:
    """Prints one recipe or all."""
    if arguments.name:
        print_one(recipes.get(arguments.name))
    else:
        print_all()


def print_one(recipe: recipes.Recipe) -> None:
    """Prints every field, then what follows from them."""
    lengths = recipe.lengths
    print(recipes.summary(recipe.name))
    print(json.dumps(recipes.to_json(recipe), indent=2))
    print(f"parameters: {count(recipe.model)}")
    flops = forward_flops(recipe.model, lengths.inputs, lengths.targets)
    print(f"forward FLOPs a sequence: {flops}")
    print(f"tokens a row: raw {lengths.raw}, inputs {lengths.inputs}, targets {lengths.targets}")


def print_all() -> None:
    """Prints a line a recipe."""
    table = Table("recipe", "parameters", "experts", "steps", "rows x inputs", box=None)
    for name in recipes.names():
        recipe = recipes.get(name)
        switch = recipe.model.switch
        table.add_row(
            name,
            f"{count(recipe.model):,}",
            "dense" if switch is None else str(switch.experts),
            f"{recipe.steps:,}",
            f"{recipe.rows} x {recipe.inputs}",
        )
    Console().print(table)


def count(config: ModelConfig) -> int:
    """Returns the number of parameters of a network."""
    shapes = eqx.filter_eval_shape(Transformer.init, config, key=jax.random.key(0))
    return parameter_count(shapes)
