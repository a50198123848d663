"""The recipes as tables: all of them, or one with every field, its parameters and FLOPs.

Parameters are counted from shapes alone, so a trillion of them take no memory.
"""

import json
from dataclasses import asdict

from rich.table import Column, Table

from model.config import ModelConfig
from model.flops import forward_flops, forward_flops_by_part
from model.transformer import parameter_count, transformer_shapes
from pipeline.recipe import named
from pipeline.recipe.recipe import with_rows
from pipeline.terminal import Terminal, print_lines

EXAMPLE_ROWS = 2048  # of a recipe that takes its rows from the tokens


def print_one(recipe: named.Recipe) -> None:
    """Prints every field, then parameters, FLOPs and lengths."""
    lengths = recipe.lengths
    print_lines(named.summary(recipe.name))
    print_lines(*json.dumps(asdict(recipe), indent=2).split("\n"))
    if recipe != (sized := with_rows(recipe, EXAMPLE_ROWS)):
        print_lines(f"vocabulary rows: as many as the tokens need; below, {EXAMPLE_ROWS}")
        recipe = sized
    print_lines(f"parameters: {count(recipe.model)}")
    parts = forward_flops_by_part(recipe.model, lengths.inputs, lengths.targets)
    print_lines(f"forward FLOPs per sequence: {sum(parts)}")
    for name, flops in parts._asdict().items():
        print_lines(f"  {name.replace('_', '-')}: {flops}")
    print_lines(
        f"tokens per row: raw {lengths.raw}, inputs {lengths.inputs}, targets {lengths.targets}"
    )


def print_all() -> None:
    """Prints one line per recipe."""
    table = Table(
        Column("recipe", no_wrap=True),
        *(Column(name, justify="right") for name in ("parameters", "FLOPs", "experts", "steps")),
        Column("batch", justify="right"),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in named.names():
        recipe = with_rows(named.get(name), EXAMPLE_ROWS)
        switch = recipe.model.switch
        flops = forward_flops(recipe.model, recipe.lengths.inputs, recipe.lengths.targets)
        table.add_row(
            name,
            f"{count(recipe.model):,}",
            f"{flops:.3e}",
            "dense" if switch is None else f"{switch.experts:,}",
            f"{recipe.steps:,}",
            f"{recipe.rows} x {recipe.inputs}",
        )
    console = Terminal()
    console.print(table)
    console.print("FLOPs: forward, per sequence. batch: rows x input tokens per row.")
    console.print(
        "The laptop recipes have as many vocabulary rows as the tokens need; here "
        f"{EXAMPLE_ROWS:,}.",
    )


def count(config: ModelConfig) -> int:
    """Returns the number of a network's parameters."""
    shapes = transformer_shapes(config)
    return parameter_count(shapes)
