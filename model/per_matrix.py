"""An Optax transformation applied to each matrix of a stack separately.

Scanned blocks and experts are stacked in one array here, but the optimizer treats each as a
separate matrix: clipping and scaling over a whole stack was measured to make the updates of a small
layer 70 times too large. `per_matrix` maps any Optax transformation over the stacked dimensions.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax
from jaxtyping import Array, PyTree

from model.dimensions import Names, dimension_names, is_names

STACKED = ("blocks", "experts")  # leading dimensions along which each element is one matrix


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

    def init_one(parameter: Array, stack: MatrixStack) -> PyTree:
        return _nested_vmap(inner.init, stack.stacked)(parameter.reshape(stack.shape))

    def update_one(
        update: Array, stack: MatrixStack, parameter: Array, state: PyTree
    ) -> tuple[Array, PyTree]:
        matrices = update.reshape(stack.shape), state, parameter.reshape(stack.shape)
        moved, state = _nested_vmap(inner.update, stack.stacked)(*matrices)
        return moved.reshape(update.shape), state

    def init(parameters: PyTree) -> PerMatrixState:
        return PerMatrixState(jax.tree.map(init_one, parameters, stacks))

    def update(
        updates: PyTree, state: PerMatrixState, parameters: PyTree = None
    ) -> tuple[PyTree, PerMatrixState]:
        both = jax.tree.map(update_one, updates, stacks, parameters, state.states)
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
