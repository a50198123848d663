"""`mswitch recipes [NAME]`: all recipes, or one with every field, its parameters and FLOPs."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from pipeline.command import Command
from pipeline.terminal import print_next


@dataclass(frozen=True, kw_only=True)
class Recipes(Command):
    """List the recipes, or print one, resolved, with its parameter count and FLOPs."""

    example: ClassVar = "switch-laptop"

    name: Annotated[str, tyro.conf.Positional] = ""
    """Name of a recipe; all are listed if left out."""

    def check(self) -> None:
        """Checks that there is such a recipe."""
        from pipeline.recipe import named

        if self.name:
            named.get(self.name)

    def work(self) -> None:
        """Prints one recipe, or the table of all."""
        from pipeline.following import first_training
        from pipeline.recipe import named, tables

        if self.name:
            tables.print_one(named.get(self.name))
            print_next("recipes", *first_training(self.name))
        else:
            tables.print_all()
            print_next("recipes", "recipes", "mt5-laptop")
