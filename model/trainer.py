"""The functions of a run, each compiled once: first state, training step, scoring.

The model is split once into arrays and static structure (`eqx.partition`), and each function is a
plain `jax.jit` over arrays: `filter_jit` would split it again at every call. The state of a step is
donated. A teacher's arrays are an argument of every step and are not donated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from model.batch import Batch, Call
from model.config import ModelConfig, OptimizerConfig, Remat
from model.loss.scoring import Scores, score
from model.loss.training_loss import Distillation
from model.optimizer import PerMatrixState, learning_rate, make_optimizer, matrix_stacks
from model.sharding.layouts import (
    batch_sharding,
    moment_sharding,
    parameter_shardings,
    replicated_layout,
)
from model.step import TrainState, step_function
from model.switch.balancing import without_expert_biases
from model.transformer import Transformer, transformer_shapes

# Key of the first weights within the seed's. The keys of steps are `fold_in(key, step)`, which is
# also what `split` returns first, so a plain split would share its keys with the first steps.
FIRST_WEIGHTS = 2**32 - 1


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
        score: (arrays, batch, number of languages) to loss sums per row and routing sums per
            language, with evaluation's capacity; compiled at its first call.
        teacher_arrays: arrays of the teacher, passed to every step; empty without a teacher.
    """

    static: Transformer
    shapes: Transformer
    mesh: Mesh
    shardings: Any
    init: Callable[[], TrainState]
    step: jax.stages.Wrapped | jax.stages.Compiled
    score: jax.stages.Wrapped
    teacher_arrays: tuple[PyTree, ...] = ()

    def with_compiled_step(self, state: TrainState, batch: Batch) -> "Trainer":
        """Returns a trainer whose `step` is compiled for arrays of these shapes."""
        if isinstance(self.step, jax.stages.Compiled):
            return self
        return replace(self, step=self.step.lower(state, batch, *self.teacher_arrays).compile())

    def begin_with(self, arrays: PyTree) -> TrainState:
        """Returns the first state with these weights, without drawing others as `init` does."""
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
        seed: seed of weights and of all noise.
        mesh: the devices.
        accumulate: microbatches per batch; more need less memory.
        remat: what the backward pass keeps of a block.
        logits_bytes: largest size of the logits that a device holds at one time.
        distillation: teacher of a student; its arrays are on the same mesh.
        dropout: rate of dropout in training; T5 and Switch have 0 in pretraining.
    """
    key = jax.random.key(seed)
    shapes, static = eqx.partition(
        transformer_shapes(config), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    )
    optimizer = make_optimizer(optimizer_config, without_expert_biases(shapes))

    def init() -> TrainState:
        weights_key = jax.random.fold_in(key, FIRST_WEIGHTS)
        arrays, _ = eqx.partition(Transformer.init(config, key=weights_key), eqx.is_array)
        moments = optimizer.init(without_expert_biases(arrays))
        return TrainState(arrays, moments, jnp.zeros((), jnp.int32))

    shardings = state_shardings(shapes, jax.eval_shape(init), mesh)
    teacher_arrays: tuple[PyTree, ...] = ()
    if distillation is not None:
        arrays, teacher = eqx.partition(distillation.teacher, eqx.is_array)
        teacher_arrays, distillation = (arrays,), distillation._replace(teacher=teacher)
    step = step_function(
        static,
        optimizer,
        learning_rate(optimizer_config, steps),
        limit=optimizer_config.largest_gradient_norm,
        call=Call(mesh, key, remat, logits_bytes=logits_bytes, dropout=dropout),
        accumulate=accumulate,
        distillation=distillation,
    )
    scoring_call = Call(mesh, logits_bytes=logits_bytes)

    def scoring(arrays: PyTree, batch: Batch, languages: int) -> Scores:
        model = eqx.combine(arrays, static)
        return score(model, batch, scoring_call, languages=languages, accumulate=accumulate)

    teacher_shardings = (parameter_shardings(arrays, mesh) for arrays in teacher_arrays)
    return Trainer(
        static=static,
        shapes=shapes,
        mesh=mesh,
        shardings=shardings,
        init=jax.jit(init, out_shardings=shardings),
        step=jax.jit(
            step,
            in_shardings=(shardings, batch_sharding(mesh), *teacher_shardings),
            out_shardings=(shardings, replicated_layout(mesh)),
            donate_argnums=0,
        ),
        score=jax.jit(
            scoring,
            static_argnums=2,
            in_shardings=(shardings.arrays, batch_sharding(mesh)),
            out_shardings=replicated_layout(mesh),
        ),
        teacher_arrays=teacher_arrays,
    )


def state_shardings(array_shapes: Transformer, state: TrainState, mesh: Mesh) -> Any:
    """Returns the sharding of each array of a state; moments are split like their parameter."""
    arrays = parameter_shardings(array_shapes, mesh)
    trained = without_expert_biases(array_shapes)
    moments = jax.tree.map(
        lambda parameter, sharding, stack, moments: jax.tree.map(
            lambda leaf: moment_sharding(leaf.shape, parameter.shape, sharding, stack.stacked),
            moments,
        ),
        trained,
        without_expert_biases(arrays),
        matrix_stacks(trained),
        state.optimizer.states,
    )
    step: Any = replicated_layout(mesh)
    return TrainState(arrays, PerMatrixState(moments), step)
