"""Layouts of arrays: the names of an array's dimensions, and one table from names to mesh axes.

A weight is declared once, `up: Float[Array, "experts embed mlp"]`. Sharding and the optimizer read
the names from there, so there is no second list to go stale. Arrays of a scanned stack have one
more leading dimension, `blocks`.

This is the only file with a table of axes. To change the strategy, change the table:

* `replica` splits the batch over slices, each of which has all parameters.
* `data` splits it further, and the experts' matrices along `embed`.
* `slice` and `expert` split it further, and the experts, over slices and within one; tokens reach
  their expert by all-to-all.
* `model` splits heads, the feed-forward's inner width and the vocabulary.

Matrices without experts are stored in parts over `data` and `expert` (FSDP: gathered for each use):
along `embed` over as many devices as divide it, then along another dimension. The prime factors of
these two axes are axes of their own there, on a second mesh of the same devices in the same order.
Every slice has all parts (docs/decisions/replicas-over-slices.md).
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args

import equinox as eqx
import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from model.config import AXES

Names = tuple[str, ...]
Record = TypeVar("Record", bound=tuple)
Tree = TypeVar("Tree", bound=PyTree)

BATCH_AXES = AXES[:-1]
EXPERT_AXES = ("slice", "expert")
ACROSS = ("replica", "slice")  # axes along which devices are in different slices
SPLIT = ("embed", "mlp", "vocabulary")  # dimensions of a matrix that are stored in parts, in order

# Layout in which a parameter or optimizer statistic is stored.
STORED = {
    "blocks": None,
    "buckets": None,
    "embed": "data",  # of experts; of other matrices as `storage` has it
    "experts": EXPERT_AXES,
    "head": None,
    "heads": "model",
    "mlp": "model",
    "vocabulary": "model",
    "width": "model",
}
# Layout in which it is used.
USED = STORED | {
    "batch": BATCH_AXES,
    "bins": None,
    "embed_shard": "data",  # experts enter the switch layer as they are stored
    "every_expert": None,
    "top_k": None,
    "embed": None,
    "groups": BATCH_AXES,
    "length": None,
    "microbatches": None,
}


def dimension_names(module: eqx.Module) -> eqx.Module:
    """Returns the module with every array replaced by the names of its dimensions.

    Raises:
        TypeError: if an array field has no shape annotation.
    """
    names = {id(array): names for array, names in _arrays_with_names(module)}
    leaves, structure = jax.tree.flatten(module)
    missing = [leaf for leaf in leaves if id(leaf) not in names]
    if missing:
        raise TypeError(
            f"{len(missing)} arrays have no shape annotation, the first is {missing[0]}."
        )
    return jax.tree.unflatten(
        structure,
        [("blocks",) * (leaf.ndim - len(names[id(leaf)])) + names[id(leaf)] for leaf in leaves],
    )


def declared_names(record: type[Record]) -> Record:
    """Returns a NamedTuple with the dimension names of each field, such as "batch length"."""
    return record(
        *(" ".join(_declared_dimensions(kind) or ()) for kind in record.__annotations__.values())
    )


def by_path(tree: Any) -> dict[str, Any]:
    """Returns arrays by path, such as `.encoder.blocks[0].self_attention.query`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def is_names(value: Any) -> bool:
    """Returns whether this is a leaf of `dimension_names`, which JAX would take for a container."""
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _arrays_with_names(value: Any) -> Iterator[tuple[Any, Names]]:
    if isinstance(value, eqx.Module):
        for field in fields(value):
            child = getattr(value, field.name)
            names = _declared_dimensions(field.type)
            if names is not None and child is not None:
                yield child, names
            else:
                yield from _arrays_with_names(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _arrays_with_names(child)


def _declared_dimensions(kind: Any) -> Names | None:
    """Returns the names in `Float[Array, "a b"]` or `Float[Array, "a b"] | None`."""
    for part in (kind, *get_args(kind)):
        if (names := getattr(part, "dim_str", None)) is not None:
            return tuple(names.split())
    return None


def spec(names: str | Names, mesh: Mesh | AbstractMesh | None = None) -> PartitionSpec:
    """Returns the layout in which an array whose dimensions have these names is used.

    Args:
        names: names of the dimensions.
        mesh: mesh of the layout; by default one with `AXES`.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    axes = [USED[name] for name in names]
    if mesh is not None:
        axes = [batch_axes(mesh) if axis == BATCH_AXES else axis for axis in axes]
    return PartitionSpec(*axes)


def batch_axes(mesh: Mesh | AbstractMesh) -> tuple[str, ...]:
    """Returns the axes that split the rows of a batch."""
    return tuple(axis for axis in mesh.axis_names if axis != "model")


def storage(names: str | Names, shape: Sequence[int], mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the layout in which a parameter of this shape is stored.

    The layout is that of the table, but a matrix with `embed` and without experts is stored in
    parts, as described at the top of the module. The batch's axes never split heads and their
    width: the optimizer joins these two dimensions, for which a split width would be gathered.
    Vectors and the biases of experts are replicated on every device: a vector has less than a
    thousandth of a layer's weights, and to gather it would only cost latency.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    axes = [STORED[name] for name in names]
    if set(names) <= {"blocks", "embed"} or set(names) <= {"blocks", "experts"}:
        return NamedSharding(mesh, PartitionSpec(*(None for _ in names)))
    if "embed" not in names or "experts" in names:
        return NamedSharding(mesh, PartitionSpec(*axes))
    fine = _mesh_of_prime_axes(mesh)
    # Innermost first: devices that are neighbours, so that a gather crosses few links.
    free = [axis for axis in reversed(batch_axes(fine)) if axis not in ACROSS]
    for name in SPLIT:
        if name in names:
            at = names.index(name)
            whole = ("model",) if STORED[name] == "model" else ()
            size = shape[at] // math.prod(fine.shape[axis] for axis in whole)
            taken = list(_dividing_axes(size, free, fine))
            free = [axis for axis in free if axis not in taken]
            axes[at] = (*whole, *reversed(taken)) or None
    return NamedSharding(fine, PartitionSpec(*axes))


def _dividing_axes(size: int, axes: list[str], mesh: Mesh | AbstractMesh) -> Iterator[str]:
    """Yields, in order, each axis that divides what the axes before it leave of a size."""
    for axis in axes:
        if size % mesh.shape[axis] == 0:
            size //= mesh.shape[axis]
            yield axis


@functools.cache
def _mesh_of_prime_axes(mesh: Mesh | AbstractMesh) -> Mesh | AbstractMesh:
    """Returns the same devices with an axis for each prime factor of `data` and of `expert`."""
    sizes: dict[str, int] = {}
    for axis, size in mesh.shape.items():
        if axis in ("data", "expert"):
            sizes |= {f"{axis}{number}": prime for number, prime in enumerate(_prime_factors(size))}
        else:
            sizes[axis] = size
    shape, names = tuple(sizes.values()), tuple(sizes)
    types = (AxisType.Auto,) * len(sizes)
    if isinstance(mesh, AbstractMesh):
        return AbstractMesh(shape, names, axis_types=types)
    return Mesh(np.reshape(mesh.devices, shape), names, axis_types=types)


def _prime_factors(number: int) -> Iterator[int]:
    factor = 2
    while number > 1:
        while number % factor == 0:
            number //= factor
            yield factor
        factor += 1


def parameter_shardings(model: eqx.Module, mesh: Mesh | AbstractMesh) -> Any:
    """Returns the stored layout of each array of a model, in the model's structure."""
    return jax.tree.map(
        lambda names, leaf: storage(names, leaf.shape, mesh),
        dimension_names(model),
        model,
        is_leaf=is_names,
    )


def with_shardings(shapes: Tree, shardings: PyTree) -> Tree:
    """Returns shapes with their shardings."""
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def moment_sharding(
    shape: tuple[int, ...], parameter_shape: tuple[int, ...], parameter: NamedSharding, stacked: int
) -> NamedSharding:
    """Returns the stored layout of an optimizer statistic: its parameter's, or that of the stack.

    A statistic with one number per weight is split like the weights, also if the optimizer has
    joined heads and their width. Row and column statistics have a thousandth of the parameter's
    size, so only their stack of blocks and experts is split.
    """
    if math.prod(shape) != math.prod(parameter_shape):
        return NamedSharding(parameter.mesh, PartitionSpec(*parameter.spec[:stacked]))
    sizes = iter(zip(parameter_shape, parameter.spec, strict=True))
    axes = []
    for size in shape:
        here, axis = next(sizes)
        while here < size:
            here *= next(sizes)[0]  # `head`, which no axis splits
        axes.append(axis)
    return NamedSharding(parameter.mesh, PartitionSpec(*axes))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the layout of a batch: rows over all axes but `model`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_shards(mesh: Mesh | AbstractMesh) -> int:
    """Returns the number of parts that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def expert_shards(mesh: Mesh | AbstractMesh) -> int:
    """Returns the number of devices that the experts are split over."""
    return math.prod(mesh.shape[axis] for axis in EXPERT_AXES)


def replicated_layout(mesh: Mesh) -> NamedSharding:
    """Returns the layout of scalars and keys."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: Array, names: str, mesh: Mesh) -> Array:
    """Constrains an activation to the table's layout."""
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(names)))
