"""One training step: loss, gradients, update; compiled once, state donated.

The model is split once into arrays and static structure (`eqx.partition`), and the step is a plain
`jax.jit` over arrays: `filter_jit` would split it again at every call. Randomness is a function of
(seed, step), so a resumed run draws the same numbers as an uninterrupted one. A step with nonfinite
loss or gradients, or with exploded gradients, is skipped: it changes only the step count and
reports `skipped`. A teacher's arrays are an argument of every step and are not donated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from model.accumulation import gradients_of
from model.batch import Batch
from model.config import ModelConfig, Remat
from model.decoding.cached_decoding import cached_decoder
from model.decoding.generation import Sampling, generate
from model.loss.distillation import Distillation
from model.loss.scoring import score
from model.loss.training_loss import Losses
from model.nonfinite import Trace, gradient_squares
from model.optimizer import (
    OptimizerConfig,
    PerMatrixState,
    learning_rate,
    make_optimizer,
    matrix_stacks,
)
from model.sharding.layouts import batch_sharding, moment_sharding, parameter_shardings, replicated
from model.stack import Call
from model.switch.balancing import learned, rebalanced
from model.switch.router_moves import router_moves
from model.transformer import Transformer, transformer_shapes

# Key of the first weights within the seed's. The keys of steps are `fold_in(key, step)`, which is
# also what `split` returns first, so a plain split would share its keys with the first steps.
FIRST_WEIGHTS = 2**32 - 1
FILLED_TOKENS = 16  # of a held-out gap that is shown; spans have 3 on average


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
        router_moves: squared distance that each router moved, in the order of `router_sites`.
    """

    losses: Losses
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    skipped: Bool[Array, ""]
    trace: Trace
    router_moves: Float[Array, " routers"]


@dataclass(frozen=True)
class Trainer:
    """A network, its optimizer and its mesh, with the compiled functions of a run.

    Attributes:
        static: the model without its arrays.
        shapes: shapes of the model's arrays.
        mesh: the devices.
        shardings: sharding of each array of the state, in its structure.
        init: function that draws the first state from the seed.
        step: (state, batch, *teacher_arrays) to (state, metrics); the state is donated.
        score: (arrays, batch) to loss and routing sums per row, with evaluation's capacity.
        fill: (arrays, inputs, number of ids) to the `FILLED_TOKENS` tokens that the network writes
            greedily; compiled at its first call.
        teacher_arrays: arrays of the teacher, passed to every step; empty without a teacher.
    """

    static: Transformer
    shapes: Transformer
    mesh: Mesh
    shardings: Any
    init: Callable[[], TrainState]
    step: jax.stages.Wrapped | jax.stages.Compiled
    score: jax.stages.Wrapped | jax.stages.Compiled
    fill: jax.stages.Wrapped
    teacher_arrays: tuple[PyTree, ...] = ()

    def compiled(self, state: TrainState, batch: Batch) -> "Trainer":
        """Returns a trainer with `step` and `score` compiled for arrays of these shapes."""
        if isinstance(self.step, jax.stages.Compiled):
            return self
        assert isinstance(self.score, jax.stages.Wrapped)
        return replace(
            self,
            step=self.step.lower(state, batch, *self.teacher_arrays).compile(),
            score=self.score.lower(state.arrays, batch).compile(),
        )

    def begin_with(self, arrays: PyTree) -> TrainState:
        """Returns the first state with these weights; `init` would draw as many beside them."""
        shardings = self.shardings._replace(arrays=None)
        fresh = jax.jit(lambda: self.init()._replace(arrays=None), out_shardings=shardings)
        return fresh()._replace(arrays=arrays)

    def model(self, arrays: PyTree) -> Transformer:
        """Returns the network with these arrays."""
        return eqx.combine(arrays, self.static)


def make_trainer(
    config: ModelConfig,
    optimizer_config: OptimizerConfig,
    *,
    steps: int,
    seed: int,
    mesh: Mesh,
    accumulate: int = 1,
    remat: Remat = "none",
    logits_bytes: int = 2**30,
    distillation: Distillation | None = None,
    dropout: float = 0.0,
) -> Trainer:
    """Returns the functions of a run; nothing is computed until they are called.

    Args:
        config: the network.
        optimizer_config: the update rule.
        steps: number of updates in the whole run, which the learning rate may depend on.
        seed: seed of weights and of the router's jitter.
        mesh: the devices.
        accumulate: microbatches per batch; more need less memory.
        remat: what the backward pass keeps of a block.
        logits_bytes: largest size of the logits that a device holds at one time.
        distillation: teacher of a student; its arrays are on the same mesh.
        dropout: rate of dropout in training; T5 and Switch have 0 in pretraining.
    """
    key = jax.random.key(seed)
    shapes = transformer_shapes(config)
    array_shapes, static = eqx.partition(
        shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    )
    optimizer = make_optimizer(optimizer_config, learned(array_shapes))

    def init() -> TrainState:
        weights_key = jax.random.fold_in(key, FIRST_WEIGHTS)
        arrays, _ = eqx.partition(Transformer.init(config, key=weights_key), eqx.is_array)
        return TrainState(arrays, optimizer.init(learned(arrays)), jnp.zeros((), jnp.int32))

    shardings = state_shardings(array_shapes, jax.eval_shape(init), mesh)
    teacher_arrays, distillation_of = _split_teacher(distillation)
    step = _step_function(
        static,
        optimizer,
        learning_rate(optimizer_config, steps),
        limit=optimizer_config.largest_gradient_norm,
        call=Call(mesh, key, remat, logits_bytes=logits_bytes, dropout=dropout),
        accumulate=accumulate,
        distillation_of=distillation_of,
    )
    rows = batch_sharding(mesh)
    teacher_shardings = (parameter_shardings(arrays, mesh) for arrays in teacher_arrays)
    return Trainer(
        static=static,
        shapes=array_shapes,
        mesh=mesh,
        shardings=shardings,
        init=jax.jit(init, out_shardings=shardings),
        step=jax.jit(
            step,
            in_shardings=(shardings, rows, *teacher_shardings),
            out_shardings=(shardings, replicated(mesh)),
            donate_argnums=0,
        ),
        score=jax.jit(
            lambda arrays, batch: score(
                eqx.combine(arrays, static),
                batch,
                Call(mesh, logits_bytes=logits_bytes),
                accumulate,
            ),
            in_shardings=(shardings.arrays, rows),
            out_shardings=replicated(mesh),
        ),
        fill=jax.jit(
            lambda arrays, inputs, ids: generate(
                cached_decoder(
                    eqx.combine(arrays, static), inputs, length=FILLED_TOKENS, ids=ids, mesh=mesh
                ),
                key,
                Sampling(),
            ),
            in_shardings=(shardings.arrays, rows, replicated(mesh)),
            out_shardings=replicated(mesh),
        ),
        teacher_arrays=teacher_arrays,
    )


def _split_teacher(
    distillation: Distillation | None,
) -> tuple[tuple[PyTree, ...], Callable[[tuple[PyTree, ...]], Distillation | None]]:
    """Returns the teacher's arrays, which every step takes, and how to rejoin them."""
    if distillation is None:
        return (), lambda _: None
    arrays, static = eqx.partition(distillation.teacher, eqx.is_array)
    return (arrays,), lambda given: distillation._replace(teacher=eqx.combine(given[0], static))


def state_shardings(array_shapes: Transformer, state: TrainState, mesh: Mesh) -> Any:
    """Returns the sharding of each array of a state; moments are split like their parameter."""
    arrays = parameter_shardings(array_shapes, mesh)
    trained = learned(array_shapes)
    moments = jax.tree.map(
        lambda parameter, sharding, stack, moments: jax.tree.map(
            lambda leaf: moment_sharding(leaf.shape, parameter.shape, sharding, stack.stacked),
            moments,
        ),
        trained,
        learned(arrays),
        matrix_stacks(trained),
        state.optimizer.states,
    )
    step: Any = replicated(mesh)
    return TrainState(arrays, PerMatrixState(moments), step)


def _step_function(
    static: Transformer,
    optimizer: optax.GradientTransformation,
    rate: Callable[[ArrayLike], Array],
    *,
    limit: float,
    call: Call,
    accumulate: int,
    distillation_of: Callable[[tuple[PyTree, ...]], Distillation | None],
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    run_key = call.key
    assert run_key is not None  # training has a key

    def step(
        state: TrainState, batch: Batch, *teacher_arrays: PyTree
    ) -> tuple[TrainState, StepMetrics]:
        here = call._replace(key=jax.random.fold_in(run_key, state.step))
        gradients, losses, rows = gradients_of(
            static, state.arrays, batch, here, accumulate, distillation_of(teacher_arrays)
        )
        updates, moments = optimizer.update(gradients, state.optimizer, learned(state.arrays))
        step_rate = jnp.asarray(rate(state.step), jnp.float32)
        updates = jax.tree.map(lambda update: -step_rate * update, updates)
        squares = gradient_squares(gradients)
        norm = jnp.sqrt(jnp.sum(squares))
        healthy = jnp.isfinite(losses.loss_nats) & (norm <= limit)  # False for NaN
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
