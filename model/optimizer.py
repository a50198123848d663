"""Adafactor as T5 and Switch use it, or AdamW, per matrix of a stack; and the learning rate.

Scanned blocks and experts are stacked in one array here, but the optimizer treats each as a
separate matrix: clipping and scaling over a whole stack was measured to make the updates of a small
layer 70 times too large. `per_matrix` maps any Optax transformation over the stacked dimensions.

Adafactor: Shazeer and Stern 2018; `mesh_tensorflow/optimize.py`. No momentum, second moments
decayed by 1 - t^-0.8 and factored into rows and columns if both dimensions are at least 128, update
clipped to root mean square 1, then scaled by the parameter's own root mean square (at least 1e-3).
The learning rate is T5's 1 / sqrt(max(step, 10,000)), which is therefore relative. A recipe may
have a warm-up and a linear decay.

AdamW (Loshchilov and Hutter 2019) keeps two moments of the parameter's size. Its rate is absolute,
so a recipe with AdamW sets `scale` (0.1 makes the rate 0.001) and `warm_up_steps`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree

from model.config import OptimizerConfig, Rate
from model.sharding.layouts import Names, dimension_names, is_names

STACKED = ("blocks", "experts")  # leading dimensions along which each element is one matrix
DECAY_EXPONENT = 0.8
CLIPPING_THRESHOLD = 1.0
FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8  # of AdamW, as published


@dataclass(frozen=True)
class MatrixStack:
    """A parameter as a stack of matrices.

    Attributes:
        stacked: number of leading dimensions along which each element is one matrix.
        shape: shape of the parameter, with heads and their width joined as in T5's attention
            matrices.
    """

    stacked: int
    shape: tuple[int, ...]


def matrix_stacks(model: eqx.Module) -> PyTree[MatrixStack]:
    """Returns each array of a model as a stack of matrices."""
    return jax.tree.map(
        lambda names, leaf: _matrix_stack(names, leaf.shape),
        dimension_names(model),
        model,
        is_leaf=is_names,
    )


def _matrix_stack(names: Names, shape: tuple[int, ...]) -> MatrixStack:
    folded: list[int] = []
    for position, (name, size) in enumerate(zip(names, shape, strict=True)):
        if name == "head" and names[position - 1] == "heads":
            folded[-1] *= size
        else:
            folded.append(size)
    stacked = itertools.takewhile(lambda name: name in STACKED, names)  # a router ends in experts
    return MatrixStack(len(list(stacked)), tuple(folded))


class PerMatrixState(NamedTuple):
    """The inner state of each parameter, stacked like the parameter."""

    states: PyTree


def per_matrix(
    inner: optax.GradientTransformation, stacks: PyTree[MatrixStack]
) -> optax.GradientTransformation:
    """Applies a transformation to each matrix of stacked parameters separately.

    Args:
        inner: a transformation of one array.
        stacks: each parameter as a stack of matrices.
    """

    def first_state(parameter: Array, stack: MatrixStack) -> PyTree:
        return _nested_vmap(inner.init, stack.stacked)(parameter.reshape(stack.shape))

    def update_matrices(
        update: Array, stack: MatrixStack, parameter: Array, state: PyTree
    ) -> tuple[Array, PyTree]:
        matrices = update.reshape(stack.shape), state, parameter.reshape(stack.shape)
        moved, state = _nested_vmap(inner.update, stack.stacked)(*matrices)
        return moved.reshape(update.shape), state

    def init(parameters: PyTree) -> PerMatrixState:
        return PerMatrixState(jax.tree.map(first_state, parameters, stacks))

    def update(
        updates: PyTree, state: PerMatrixState, parameters: PyTree = None
    ) -> tuple[PyTree, PerMatrixState]:
        both = jax.tree.map(update_matrices, updates, stacks, parameters, state.states)
        outer = jax.tree.structure(updates)
        pairs = outer.flatten_up_to(both)
        return (
            outer.unflatten([update for update, _ in pairs]),
            PerMatrixState(outer.unflatten([state for _, state in pairs])),
        )

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _nested_vmap(function: Callable[..., Any], depth: int) -> Callable[..., Any]:
    for _ in range(depth):
        function = jax.vmap(function)
    return function


def rate_schedule(config: Rate, steps: int) -> Callable[[ArrayLike], Array]:
    """Returns one rate as a function of the step, counted from 0, in a run of `steps`."""
    start = config.decay_from * steps

    def schedule(count: ArrayLike) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32)
        rate = config.scale / jnp.sqrt(jnp.maximum(step, config.hold_steps))
        left = jnp.clip((steps - step) / jnp.maximum(steps - start, 1.0), 0.0, 1.0)
        warm = jnp.minimum((step + 1) / max(config.warm_up_steps, 1), 1.0)
        return rate * left * warm

    return schedule


def learning_rate(config: OptimizerConfig, steps: int) -> Callable[[ArrayLike], Array]:
    """Returns the learning rate as a function of the step, counted from 0, in a run of `steps`."""
    first = rate_schedule(config, steps)
    later = [(rate.step, rate_schedule(rate, steps)) for rate in config.rate_from]

    def schedule(count: ArrayLike) -> Float[Array, ""]:
        rate = first(count)
        for step, changed in later:
            rate = jnp.where(jnp.asarray(count) < step, rate, changed(count))
        return rate

    return schedule


def make_optimizer(config: OptimizerConfig, model: eqx.Module) -> optax.GradientTransformation:
    """Returns the optimizer of a model (arrays or shapes; only dimension names are read).

    The caller multiplies its updates by minus the learning rate, which is a function of the step:
    an optimizer's own count would not advance at skipped steps.
    """
    matrix = adafactor() if config.rule == "adafactor" else adamw(config.weight_decay)
    return per_matrix(matrix, matrix_stacks(model))


def adafactor() -> optax.GradientTransformation:
    """Returns T5's Adafactor for one matrix, without the learning rate."""
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=DECAY_EXPONENT),
        optax.clip_by_block_rms(CLIPPING_THRESHOLD),
        optax.scale_by_param_block_rms(),
    )


def adamw(weight_decay: float) -> optax.GradientTransformation:
    """Returns AdamW for one matrix, without the learning rate; vectors (norms) do not decay."""
    return optax.chain(
        optax.scale_by_adam(FIRST_DECAY, SECOND_DECAY, EPSILON),
        optax.add_decayed_weights(weight_decay, mask=_is_matrix),
    )


def _is_matrix(leaf: Any) -> bool:
    return leaf.ndim > 1
