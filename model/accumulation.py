"""Gradient accumulation: a batch at once or in microbatches, the same gradients with less memory.

Losses are sums over tokens, divided once by the tokens of the whole batch, so the microbatches'
gradients add up to the batch's. A mean of means would weigh tokens of a short microbatch more.
A routing group is never split (`row_parts.py`): it keeps its tokens, its number and hence its
jitter, whichever microbatch it is in.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from model.batch import Batch
from model.call import Call, Microbatch
from model.loss.distillation import Distillation
from model.loss.training_loss import Losses, RowLosses, combine, training_loss
from model.row_parts import join_rows, split_rows
from model.switch.balancing import without_expert_biases
from model.transformer import Transformer


class Gradients(NamedTuple):
    """Gradients of the training loss, None for experts' biases; its terms; rows in batch order."""

    gradients: PyTree
    losses: Losses
    rows: RowLosses


def gradients_of(
    static: Transformer,
    arrays: PyTree,
    batch: Batch,
    call: Call,
    accumulate: int,
    distillation: Distillation | None = None,
) -> Gradients:
    """Returns the gradients of a batch.

    Args:
        static: the model without its arrays.
        arrays: arrays of the model.
        batch: the batch; devices and microbatches must divide its rows.
        call: mesh, key and rematerialization of the step.
        accumulate: number of microbatches; 1 computes the batch at once.
        distillation: teacher of a student, which is also run per microbatch.
    """
    whole = Microbatch.whole(batch)

    def gradients_of_one(batch: Batch, number: Array | int) -> Gradients:
        microbatch = whole._replace(number=number, total=accumulate)

        def loss(moving: PyTree) -> tuple[Float[Array, ""], tuple[Losses, RowLosses]]:
            here = call._replace(microbatch=microbatch)
            return training_loss(eqx.combine(moving, arrays, static), batch, here, distillation)

        (_, aux), gradients = jax.value_and_grad(loss, has_aux=True)(without_expert_biases(arrays))
        return Gradients(gradients, *aux)

    if accumulate == 1:
        return gradients_of_one(batch, 0)
    switch = static.config.switch  # a part does not know the loads of the others
    assert switch is None or switch.balance_loss_over == "group"
    microbatches = jax.tree.map(lambda rows: split_rows(rows, accumulate, call.mesh), batch)

    def add(sums: PyTree, numbered: tuple[Batch, Array]) -> tuple[PyTree, tuple[Losses, RowLosses]]:
        gradients, *aux = gradients_of_one(*numbered)
        return jax.tree.map(jnp.add, sums, gradients), tuple(aux)  # pyright: ignore[reportReturnType]

    zeros = jax.tree.map(jnp.zeros_like, without_expert_biases(arrays))
    numbered = microbatches, jnp.arange(accumulate)
    gradients, (losses, rows) = jax.lax.scan(add, zeros, numbered)
    rows = jax.tree.map(lambda values: join_rows(values, call.mesh), rows)
    return Gradients(gradients, combine(losses), rows)
