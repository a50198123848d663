"""Layouts of arrays: one table from dimension names to mesh axes.

The only file with a table of axes. To change the strategy, change the table:

* `data` splits the batch, and stored parameters along `embed` (FSDP: gathered for each use).
* `expert` splits the batch further, and the experts; tokens reach their expert by all-to-all.
  Parameters without experts are stored over it as well.
* `model` splits heads, the feed-forward's inner width and the vocabulary.
"""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from model.dimensions import Names, dimension_names, is_names

BATCH_AXES = ("data", "expert")

# Layout in which a parameter or optimizer statistic is stored.
STORED = {
    "blocks": None,
    "buckets": None,
    "embed": "data",
    "experts": "expert",
    "head": None,
    "heads": "model",
    "mlp": "model",
    "vocabulary": "model",
    "width": "model",
}
# Layout in which it is used.
USED = STORED | {
    "batch": BATCH_AXES,
    "embed_shard": "data",  # experts enter the switch layer as they are stored
    "top_k": None,
    "embed": None,
    "groups": BATCH_AXES,
    "length": None,
    "microbatches": None,
}


def spec(names: str | Names, table: dict[str, Any] = USED) -> PartitionSpec:
    """Returns the layout of an array whose dimensions have these names.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    return PartitionSpec(*(table[name] for name in names))


def stored_spec(
    names: str | Names, shape: Sequence[int], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """Returns the layout in which a parameter of this shape is stored.

    The table's, with two exceptions. `embed` is split over `expert` too, unless experts are or the
    size does not divide. A vector is whole on every device: it has less than a thousandth of a
    layer's weights, and gathers of it would only cost latency.

    Raises:
        KeyError: if a name is not in the table, because it must not replicate silently.
    """
    names = tuple(names.split()) if isinstance(names, str) else names
    axes = [STORED[name] for name in names]
    shards = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if "embed" in names and "experts" not in names:
        at = names.index("embed")
        if set(names) <= {"blocks", "embed"}:
            axes[at] = None
        elif shape[at] % shards == 0:
            axes[at] = BATCH_AXES
    return PartitionSpec(*axes)


def parameter_shardings(model: eqx.Module, mesh: Mesh | AbstractMesh) -> Any:
    """Returns the stored layout of each array of a model, in the model's structure."""
    return jax.tree.map(
        lambda names, leaf: NamedSharding(mesh, stored_spec(names, leaf.shape, mesh)),
        dimension_names(model),
        model,
        is_leaf=is_names,
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
    """Returns the layout of a batch: rows over data and expert."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_shards(mesh: Mesh) -> int:
    """Returns the number of parts that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the layout of scalars and keys."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: Array, names: str, mesh: Mesh) -> Array:
    """Constrains an activation to the table's layout."""
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(names)))
