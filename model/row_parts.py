"""A batch in parts of whole rows, of which each device keeps its own.

Microbatches of gradient accumulation and the parts in which a batch is scored are cut alike: no row
moves between devices, and a routing group is never split.
"""

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int, Shaped

from model.sharding.layouts import batch_shards, constrain


def split_rows(
    rows: Shaped[Array, "batch *rest"], parts: int, mesh: Mesh
) -> Shaped[Array, "parts rows *rest"]:
    """Splits each device's own rows, so that no row moves between devices."""
    shards, rest = batch_shards(mesh), rows.shape[1:]
    split = rows.reshape(shards, parts, -1, *rest)
    split = jnp.moveaxis(split, 1, 0).reshape(parts, -1, *rest)
    return constrain(split, " ".join(("microbatches", "batch", *("length",) * len(rest))), mesh)


def join_rows(
    values: Shaped[Array, "parts rows *rest"], mesh: Mesh
) -> Shaped[Array, "batch *rest"]:
    """Restores the order of rows that `split_rows` changed."""
    parts, rest = values.shape[0], values.shape[2:]
    split = values.reshape(parts, batch_shards(mesh), -1, *rest)
    return jnp.moveaxis(split, 0, 1).reshape(-1, *rest)


def row_numbers(
    count: int, part: Int[Array, ""] | int, parts: int, mesh: Mesh
) -> Int[Array, " count"]:
    """Returns the number in the batch of each row of a part.

    Args:
        count: rows of the part.
        part: number of the part, as `split_rows` cuts it.
        parts: parts per batch.
        mesh: the devices.
    """
    size = count // batch_shards(mesh)
    shard, within = jnp.divmod(jnp.arange(count), size)
    return (shard * parts + part) * size + within
