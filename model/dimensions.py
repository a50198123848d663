"""The names of an array's dimensions, read off the annotation that declares it.

A weight is declared once, `up: Float[Array, "experts embed mlp"]`; sharding and the optimizer read
the names from there, so there is no second list to go stale. Arrays of a scanned stack carry one
leading dimension more, which is called `blocks`.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import equinox as eqx
import jax

Names = tuple[str, ...]


def dimension_names(module: eqx.Module) -> eqx.Module:
    """Returns the module with every array replaced by the names of its dimensions.

    Raises:
        TypeError: an array field without a shape annotation.
    """
    names = {id(leaf): found for leaf, found in _walk(module)}
    leaves, structure = jax.tree.flatten(module)
    missing = [leaf for leaf in leaves if id(leaf) not in names]
    if missing:
        raise TypeError(
            f"{len(missing)} arrays have no shape annotation, the first is {missing[0]}."
        )
    return jax.tree.unflatten(structure, [_pad(names[id(leaf)], leaf.ndim) for leaf in leaves])


def is_names(value: Any) -> bool:
    """True for the leaves of `dimension_names`, which JAX would take for containers."""
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _walk(value: Any) -> Iterator[tuple[Any, Names]]:
    if isinstance(value, eqx.Module):
        for field in fields(value):
            child = getattr(value, field.name)
            names = _declared(field.type)
            if names is not None and child is not None:
                yield child, names
            else:
                yield from _walk(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _walk(child)


def _declared(kind: Any) -> Names | None:
    """Returns the names in `Float[Array, "a b"]` or `Float[Array, "a b"] | None`."""
    for part in (kind, *get_args(kind)):
        if (names := getattr(part, "dim_str", None)) is not None:
            return tuple(names.split())
    return None


def _pad(names: Names, rank: int) -> Names:
    return ("blocks",) * (rank - len(names)) + names
