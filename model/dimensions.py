"""Names of an array's dimensions, read off the annotation that declares it.

A weight is declared once, `up: Float[Array, "experts embed mlp"]`. Sharding and the optimizer read
the names from there, so there is no second list to go stale. Arrays of a scanned stack have one
more leading dimension, `blocks`.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, TypeVar, get_args

import equinox as eqx
import jax

Names = tuple[str, ...]
Record = TypeVar("Record", bound=tuple)


def dimension_names(module: eqx.Module) -> eqx.Module:
    """Returns the module with every array replaced by the names of its dimensions.

    Raises:
        TypeError: if an array field has no shape annotation.
    """
    names = {id(leaf): found for leaf, found in _walk(module)}
    leaves, structure = jax.tree.flatten(module)
    missing = [leaf for leaf in leaves if id(leaf) not in names]
    if missing:
        raise TypeError(
            f"{len(missing)} arrays have no shape annotation, the first is {missing[0]}."
        )
    return jax.tree.unflatten(structure, [_pad(names[id(leaf)], leaf.ndim) for leaf in leaves])


def declared_names(record: type[Record]) -> Record:
    """Returns a NamedTuple with the dimension names of each field, such as "batch length"."""
    return record(*(" ".join(_declared(kind) or ()) for kind in record.__annotations__.values()))


def by_path(tree: Any) -> dict[str, Any]:
    """Returns arrays by path, such as `.encoder.blocks[0].self_attention.query`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def is_names(value: Any) -> bool:
    """Returns whether this is a leaf of `dimension_names`, which JAX would take for a container."""
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
