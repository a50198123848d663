"""One training step: loss, gradients, update.

Randomness is a function of (seed, step), so a resumed run draws the same numbers as an
uninterrupted one. A step with nonfinite loss or gradients, or with exploded gradients, is skipped:
it changes only the step count and reports `skipped`.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from model.accumulation import gradients_of
from model.batch import Batch
from model.call import Call
from model.loss.distillation import Distillation
from model.loss.training_loss import Losses
from model.nonfinite import Trace, gradient_squares
from model.switch.balancing import rebalanced, without_expert_biases
from model.switch.router_moves import router_moves
from model.transformer import Transformer


class TrainState(NamedTuple):
    """The state of a run: with its recipe, all that a resumed run needs.

    Attributes:
        arrays: arrays of the model, in its structure.
        optimizer: statistics of the update rule, such as second moments, of what is learned.
        step: number of steps, skipped ones included.
    """

    arrays: PyTree
    optimizer: PyTree
    step: Int[Array, ""]


class StepMetrics(NamedTuple):
    """The report of a step.

    Attributes:
        losses: losses of the batch, before the update.
        gradient_norm: norm over all parameters.
        learning_rate: learning rate of the update.
        skipped: True if nothing was updated, because the loss or a gradient was nonfinite or the
            gradient norm exceeded the recipe's limit.
        trace: numbers that locate the cause; fetched from the devices only after a skipped step.
        router_moves: squared distance that each router moved, in the order of `of_routers`.
    """

    losses: Losses
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    skipped: Bool[Array, ""]
    trace: Trace
    router_moves: Float[Array, " routers"]


def step_function(
    static: Transformer,
    optimizer: optax.GradientTransformation,
    rate: Callable[[ArrayLike], Array],
    *,
    limit: float,
    call: Call,
    accumulate: int,
    distillation_of: Callable[[tuple[PyTree, ...]], Distillation | None],
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Returns the function of a step: (state, batch, *teacher_arrays) to (state, metrics).

    Args:
        static: the model without its arrays.
        optimizer: the update rule of what is learned, without the learning rate.
        rate: learning rate as a function of the step.
        limit: largest norm of the gradients of a step that is not skipped.
        call: inputs of the forward pass, with the key of the run.
        accumulate: microbatches per batch.
        distillation_of: function of the teacher's arrays to the teacher; to None without one.
    """
    run_key = call.key
    assert run_key is not None  # training has a key

    def step(
        state: TrainState, batch: Batch, *teacher_arrays: PyTree
    ) -> tuple[TrainState, StepMetrics]:
        here = call._replace(key=jax.random.fold_in(run_key, state.step))
        gradients, losses, rows = gradients_of(
            static, state.arrays, batch, here, accumulate, distillation_of(teacher_arrays)
        )
        updates, moments = optimizer.update(
            gradients, state.optimizer, without_expert_biases(state.arrays)
        )
        step_rate = jnp.asarray(rate(state.step), jnp.float32)
        updates = jax.tree.map(lambda update: -step_rate * update, updates)
        squares = gradient_squares(gradients)
        norm = jnp.sqrt(jnp.sum(squares))
        healthy = jnp.isfinite(losses.loss_nats) & jnp.isfinite(norm) & (norm <= limit)
        moved = eqx.apply_updates(state.arrays, updates)
        moved = rebalanced(moved, static.config.switch, losses.layers, losses.margins)
        arrays, moments = jax.tree.map(
            lambda new, old: jnp.where(healthy, new, old),
            (moved, moments),
            (state.arrays, state.optimizer),
        )
        metrics = StepMetrics(
            losses=losses._replace(margins=None),  # megabytes that nobody reads
            gradient_norm=norm,
            learning_rate=step_rate,
            skipped=~healthy,
            trace=Trace(squares, rows.loss_nats, batch.language, rows.finite_layers),
            router_moves=router_moves(state.arrays, arrays),
        )
        return TrainState(arrays, moments, state.step + 1), metrics

    return step
