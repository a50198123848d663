"""Dropped experts merged into kept ones, weighted by load, instead of being thrown away.

Source: MC-SMoE (Li et al. 2024, "Merge, Then Compress"), section 3.2, in this order:

1. Each dropped expert joins the kept one whose router column is most similar (cosine), because
   tokens of one are then likely to score high with the other.
2. The hidden units of the joining expert are permuted to match the kept one's: experts that were
   initialized at random share no order of units, and the mean of two unlike units resembles
   neither. The permutation maximizes the sum, over pairs of matched units, of the inner product
   of their weights (`gate`, `up`, `down`).
3. The merged expert is the mean of its group, weighted by load. A group that nothing was sent to
   keeps the kept expert as it is, and an expert without load adds nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.optimize import linear_sum_assignment

from model.switch.balancing import BIAS

FIELDS = "gate", "up", "down"


class LayerExperts(NamedTuple):
    """The experts of one switch layer; without a gate they are ReLU networks."""

    gate: Float[np.ndarray, "experts embed mlp"] | None
    up: Float[np.ndarray, "experts embed mlp"]
    down: Float[np.ndarray, "experts mlp embed"]

    def units(self, expert: int) -> Float[np.ndarray, "mlp weights"]:
        """Returns all weights of each hidden unit of an expert."""
        inward = [matrix[expert].T for matrix in (self.gate, self.up) if matrix is not None]
        return np.concatenate([*inward, self.down[expert]], axis=1)


def merged_arrays(
    arrays: Mapping[str, Shaped[np.ndarray, "blocks ..."]],
    kept: Int[np.ndarray, "blocks kept"],
    load: Float[np.ndarray, "blocks experts"],
) -> dict[str, Shaped[np.ndarray, "blocks ..."]]:
    """Returns the arrays of the switch layers of a stack with dropped experts merged, by name.

    Args:
        arrays: router and experts of all blocks, by names that end in `.router`, `.gate`, `.up` and
            `.down`; without a gate the experts are ReLU networks. Kept experts keep their biases
            (`.expert_bias`), if there are any.
        kept: experts of each block that stay.
        load: assignments to each expert of each block.
    """
    named = {name.rpartition(".")[2]: array for name, array in arrays.items()}
    routers = named["router"]
    blocks = []
    for block, (experts, weight) in enumerate(zip(kept, load, strict=True)):
        of = {one: array[block] for one, array in named.items()}
        layer = LayerExperts(of.get("gate"), of["up"], of["down"])
        joined = joined_by(routers[block], experts)
        blocks.append(merged(layer, joined, weight, experts))
    made = {one: np.stack([getattr(of, one) for of in blocks]) for one in FIELDS if one in named}
    for name in ("router", BIAS):
        if name in named:
            parts = zip(named[name], kept, strict=True)
            made[name] = np.stack([of[..., experts] for of, experts in parts])
    return {name: made[name.rpartition(".")[2]] for name in arrays}


def joined_by(
    router: Float[np.ndarray, "embed experts"], kept: Int[np.ndarray, " kept"]
) -> Int[np.ndarray, " experts"]:
    """Returns for each expert the kept expert that it joins; a kept one joins itself.

    Args:
        router: weights of the router.
        kept: numbers of the experts that stay.
    """
    columns = router / np.maximum(np.linalg.norm(router, axis=0), 1e-30)
    nearest = kept[np.argmax(columns.T @ columns[:, kept], axis=1)]
    nearest[kept] = kept
    return nearest


def merged(
    experts: LayerExperts,
    joined: Int[np.ndarray, " experts"],
    load: Float[np.ndarray, " experts"],
    kept: Int[np.ndarray, " kept"],
) -> LayerExperts:
    """Returns the kept experts of a layer, each the mean of its group.

    Args:
        experts: all experts of the layer.
        joined: for each expert the kept expert that it joins.
        load: assignments to each expert.
        kept: numbers of the experts that stay.
    """
    groups = [
        _mean_of_group(experts, np.flatnonzero(joined == one), one, load) for one in kept.tolist()
    ]
    gates, ups, downs = zip(*groups, strict=True)
    return LayerExperts(
        None if experts.gate is None else np.stack(gates), np.stack(ups), np.stack(downs)
    )


def _mean_of_group(
    experts: LayerExperts,
    group: Int[np.ndarray, " group"],
    kept: int,
    load: Float[np.ndarray, " experts"],
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Returns gate, up and down of the mean of a group, in the kept expert's order of units."""
    used = [one for one in group.tolist() if load[one] > 0]
    if used in ([], [kept]):
        return tuple(None if part is None else part[kept] for part in experts)  # pyright: ignore[reportReturnType]
    weights = load[used] / load[used].sum()
    order = {one: aligned(experts, one, kept) for one in used}
    gate, up = (
        None if matrix is None
        else _weighted(weights, [matrix[one][:, order[one]] for one in used])
        for matrix in (experts.gate, experts.up)
    )  # fmt: skip
    down = _weighted(weights, [experts.down[one][order[one]] for one in used])
    assert up is not None
    return gate, up, down


def aligned(experts: LayerExperts, one: int, kept: int) -> Int[np.ndarray, " mlp"]:
    """Returns which hidden unit of an expert takes the place of each unit of a kept one."""
    if one == kept:
        return np.arange(experts.up.shape[-1])
    likeness = experts.units(kept) @ experts.units(one).T
    return linear_sum_assignment(likeness, maximize=True)[1]


def _weighted(weights: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    total = sum(weight * matrix for weight, matrix in zip(weights, matrices, strict=True))
    return np.asarray(total, matrices[0].dtype)
