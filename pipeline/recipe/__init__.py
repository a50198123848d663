"""Recipes: the dataclass, named recipes, overrides, size checks, mesh choice."""
