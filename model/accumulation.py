"""Gradients of a batch, at once or in parts one after another: the same gradients, less memory.

Losses are sums over tokens, divided once by the tokens of the whole batch, so the parts' gradients
add up to the batch's; a mean of means would weigh a short part's tokens more. Every device splits
its own rows, and a routing group is never split: each keeps its tokens, its number and so its
jitter, whichever part it is computed in.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, Shaped

from model.batch import Batch
from model.distillation import Distillation
from model.loss import Losses, RowLosses, combine, training_loss
from model.sharding import batch_shards, constrain
from model.stack import Call, Microbatch
from model.transformer import Transformer


class Gradients(NamedTuple):
    """Of the training loss, with what the loss was made of; rows in the order of the batch."""

    gradients: PyTree
    losses: Losses
    rows: RowLosses


def gradients_of(
    rest: Transformer,
    arrays: PyTree,
    batch: Batch,
    call: Call,
    accumulate: int,
    distillation: Distillation | None = None,
) -> Gradients:
    """Returns the gradients of a batch, computed in so many parts.

    Args:
        rest: what of the model is not arrays.
        arrays: the model's.
        batch: its rows must divide by devices and parts.
        call: of the step.
        accumulate: how many parts; 1 computes the batch at once.
        distillation: a student's; its teacher reads part after part, too.
    """
    target_tokens = jnp.sum(batch.is_target)

    def part_gradients(batch: Batch, number: Array | int) -> Gradients:
        microbatch = Microbatch(number, accumulate, target_tokens)

        def loss(arrays: PyTree) -> tuple[Float[Array, ""], tuple[Losses, RowLosses]]:
            here = call._replace(microbatch=microbatch)
            return training_loss(eqx.combine(arrays, rest), batch, here, distillation)

        (_, aux), gradients = jax.value_and_grad(loss, has_aux=True)(arrays)
        return Gradients(gradients, *aux)

    if accumulate == 1:
        return part_gradients(batch, 0)
    parts = jax.tree.map(lambda rows: _split(rows, accumulate, call.mesh), batch)

    def add(sums: PyTree, part: tuple[Batch, Array]) -> tuple[PyTree, tuple[Losses, RowLosses]]:
        gradients, *aux = part_gradients(*part)
        return jax.tree.map(jnp.add, sums, gradients), tuple(aux)  # pyright: ignore[reportReturnType]

    nothing = jax.tree.map(jnp.zeros_like, arrays)
    gradients, (losses, rows) = jax.lax.scan(add, nothing, (parts, jnp.arange(accumulate)))
    rows = jax.tree.map(lambda values: _join(values, call.mesh), rows)
    return Gradients(gradients, combine(losses), rows)


def _split(
    rows: Shaped[Array, "batch *rest"], parts: int, mesh: Mesh
) -> Shaped[Array, "microbatches rows *rest"]:
    """Splits each device's own rows, so that nothing moves between devices."""
    shards, rest = batch_shards(mesh), rows.shape[1:]
    split = rows.reshape(shards, parts, -1, *rest)
    split = jnp.moveaxis(split, 1, 0).reshape(parts, -1, *rest)
    return constrain(split, " ".join(("microbatches", "batch", *("length",) * len(rest))), mesh)


def _join(values: Shaped[Array, "microbatches rows"], mesh: Mesh) -> Shaped[Array, " batch"]:
    """Undoes `_split`."""
    split = values.reshape(values.shape[0], batch_shards(mesh), -1)
    return jnp.moveaxis(split, 0, 1).reshape(-1)
