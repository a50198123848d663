"""Recipes: the dataclass, named recipes, settings of a command line, what must fit."""
