"""Assignments in the order of their experts, which all dispatches count positions by.

A stable sort instead of the reference's cumulative sum of one-hot rows, which grows with the number
of experts.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int


class SortedByExpert(NamedTuple):
    """A sort of assignments by expert; assignments of padding come last.

    Attributes:
        order: index of the assignment at each rank.
        rank: rank of each assignment, the inverse of `order`.
        offsets: rank of each expert's first assignment.
        group_sizes: number of assignments per expert.
    """

    order: Int[Array, " assignments"]
    rank: Int[Array, " assignments"]
    offsets: Int[Array, " experts"]
    group_sizes: Int[Array, " experts"]


def sort_by_expert(expert_index: Int[Array, " assignments"], experts: int) -> SortedByExpert:
    """Sorts assignments by expert; ties keep their order, index `experts` marks padding."""
    order = jnp.argsort(expert_index, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)), unique_indices=True)
    group_sizes = jnp.bincount(expert_index, length=experts)
    return SortedByExpert(order, rank, jnp.cumsum(group_sizes) - group_sizes, group_sizes)
