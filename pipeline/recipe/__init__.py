"""Recipes: the dataclass, named recipes, overrides, size checks, choice of mesh."""
