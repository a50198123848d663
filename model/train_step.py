"""One training step: loss, gradients, update; compiled once, state donated.

The model is split into arrays and the rest once (`eqx.partition`), and the step is a plain
`jax.jit` over arrays: `filter_jit` would split it anew at every call. Randomness is a function of
(seed, step), so a resumed run draws what the uninterrupted one would have drawn. A step whose loss
or gradients are not finite changes nothing but the count of steps, and says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from model.batch import Batch
from model.config import ModelConfig, Remat
from model.loss import Losses, RowLosses, score, training_loss
from model.optimizer import (
    OptimizerConfig,
    PerMatrixState,
    adafactor,
    learning_rate,
    matrix_stacks,
)
from model.routing_sums import RowRouting
from model.sharding import batch_sharding, moment_sharding, parameter_shardings, replicated
from model.transformer import Call, Transformer


class TrainState(NamedTuple):
    """Everything a run is, besides its recipe.

    Attributes:
        arrays: the model's arrays, in its structure.
        optimizer: second moments.
        step: updates made.
    """

    arrays: PyTree
    optimizer: PyTree
    step: Int[Array, ""]


class StepMetrics(NamedTuple):
    """What a step reports.

    Attributes:
        losses: of its batch, before the update.
        gradient_norm: over all parameters.
        learning_rate: of its update.
        skipped: True where the loss or a gradient was not finite and nothing was updated.
    """

    losses: Losses
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    skipped: Bool[Array, ""]


@dataclass(frozen=True)
class Trainer:
    """A network, its optimizer and its mesh, with the compiled functions of a run.

    Attributes:
        rest: what of the model is not arrays.
        shapes: of its arrays.
        mesh: the devices.
        shardings: of the state, in its structure.
        init: seed to state.
        step: (state, batch) to (state, metrics); the state is donated.
        score: (arrays, batch) to each row's sums, and routing's; with evaluation's capacity.
    """

    rest: Transformer
    shapes: Transformer
    mesh: Mesh
    shardings: Any
    init: Callable[[], TrainState]
    step: Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]
    score: Callable[[PyTree, Batch], tuple[RowLosses, RowRouting | None]]

    def model(self, arrays: PyTree) -> Transformer:
        """Returns the network with these arrays."""
        return eqx.combine(arrays, self.rest)


def make_trainer(
    config: ModelConfig,
    optimizer_config: OptimizerConfig,
    *,
    steps: int,
    seed: int,
    mesh: Mesh,
    remat: Remat = "none",
) -> Trainer:
    """Builds a run's functions; nothing is computed until they are called."""
    key = jax.random.key(seed)
    shapes = eqx.filter_eval_shape(Transformer.init, config, key=key)
    array_shapes, rest = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    optimizer = adafactor(optimizer_config, steps, array_shapes)

    def init() -> TrainState:
        arrays, _ = eqx.partition(Transformer.init(config, key=key), eqx.is_array)
        return TrainState(arrays, optimizer.init(arrays), jnp.zeros((), jnp.int32))

    shardings = state_shardings(array_shapes, jax.eval_shape(init), mesh)
    rate = learning_rate(optimizer_config, steps)
    step = _step_function(rest, optimizer, rate, key=key, mesh=mesh, remat=remat)
    rows = batch_sharding(mesh)
    return Trainer(
        rest=rest,
        shapes=array_shapes,
        mesh=mesh,
        shardings=shardings,
        init=jax.jit(init, out_shardings=shardings),
        step=jax.jit(
            step,
            in_shardings=(shardings, rows),
            out_shardings=(shardings, replicated(mesh)),
            donate_argnums=0,
        ),
        score=jax.jit(
            lambda arrays, batch: score(eqx.combine(arrays, rest), batch, Call(mesh)),
            in_shardings=(shardings.arrays, rows),
            out_shardings=replicated(mesh),
        ),
    )


def state_shardings(array_shapes: Transformer, state: TrainState, mesh: Mesh) -> Any:
    """Returns where each array of a run's state is stored; moments lie with their parameter."""
    arrays = parameter_shardings(array_shapes, mesh)
    stacks = matrix_stacks(array_shapes)
    per_matrix, *others = state.optimizer
    moments = jax.tree.map(
        lambda parameter, sharding, stack, moments: jax.tree.map(
            lambda leaf: moment_sharding(leaf.shape, parameter.shape, sharding, stack.stacked),
            moments,
        ),
        array_shapes,
        arrays,
        stacks,
        per_matrix.states,
    )
    scalars = jax.tree.map(lambda _: replicated(mesh), tuple(others))
    step: Any = replicated(mesh)
    return TrainState(arrays, (PerMatrixState(moments), *scalars), step)


def _step_function(
    rest: Transformer,
    optimizer: optax.GradientTransformation,
    rate: Callable[[ArrayLike], Array],
    *,
    key: Key[Array, ""],
    mesh: Mesh,
    remat: Remat,
) -> Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]:
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        call = Call(mesh, jax.random.fold_in(key, state.step), remat)

        def loss(arrays: PyTree) -> tuple[Float[Array, ""], Losses]:
            return training_loss(eqx.combine(arrays, rest), batch, call)

        (_, losses), gradients = jax.value_and_grad(loss, has_aux=True)(state.arrays)
        updates, moments = optimizer.update(gradients, state.optimizer, state.arrays)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(norm) & jnp.isfinite(losses.loss_nats)
        metrics = StepMetrics(losses, norm, jnp.asarray(rate(state.step), jnp.float32), ~finite)
        moved = optax.apply_updates(state.arrays, updates), moments
        arrays, moments = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), moved, (state.arrays, state.optimizer)
        )
        return TrainState(arrays, moments, state.step + 1), metrics

    return step
