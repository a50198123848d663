"""The router's choice for one group of tokens: which experts, with what weight, at what loss.

Sources: Switch Transformer (Fedus et al. 2022), sections 2.1 and 2.2; for several choices GShard
(Lepikhin et al. 2020) and `mesh_tensorflow/transformer/moe.py`; for the z-loss ST-MoE (Zoph et al.
2022), equation 5. Everything here is float32, the paper's selective precision (section 2.4).

* A token's output is the sum of `gate * expert(x)` over its choices; the gate is what makes the
  choice learnable. One choice has the router's probability as its gate, as in Switch; several
  share 1 in proportion to theirs, as in GShard, dropped ones included.
* Where an expert's places are counted, all first choices come before all second ones, and among
  equals the earlier position.
* Padding is neither routed nor counted, in any of the losses.
* The balance loss looks at what tokens asked for, before any capacity: 1 when even, `experts` when
  all ask for one. Its share is of choices, so that 1 stays even whatever their number.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class RouterOutput(NamedTuple):
    """What the router says of a group.

    Attributes:
        expert: a token's experts, most probable first; ties go to the lower number.
        gate: how much each counts.
        entropy_nats: of the router's distribution, a token.
        balance_loss: of the group, before its weight.
        z_loss: of the group, before its weight.
    """

    expert: Int[Array, "tokens top_k"]
    gate: Float[Array, "tokens top_k"]
    entropy_nats: Float[Array, " tokens"]
    balance_loss: Float[Array, ""]
    z_loss: Float[Array, ""]


def choose(
    logits: Float[Array, "tokens experts"], is_token: Bool[Array, " tokens"], top_k: int
) -> RouterOutput:
    """Chooses each token's experts.

    Args:
        logits: the router's, float32.
        is_token: False for padding, whose choice means nothing.
        top_k: experts per token.
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    gate, expert = _largest(probabilities, top_k)
    if top_k > 1:
        gate = gate / jnp.sum(gate, axis=-1, keepdims=True)
    return RouterOutput(
        expert=expert,
        gate=gate,
        entropy_nats=jnp.sum(jax.scipy.special.entr(probabilities), axis=-1),
        balance_loss=balance_loss(probabilities, expert, is_token),
        z_loss=z_loss(logits, is_token),
    )


def _largest(
    probabilities: Float[Array, "tokens experts"], top_k: int
) -> tuple[Float[Array, "tokens top_k"], Int[Array, "tokens top_k"]]:
    """Returns the largest probabilities and their experts; of equal ones the first.

    The same as `lax.top_k`, which compiles to a sort of all experts for TPUs, also for one choice.
    """
    gates, experts, left = [], [], probabilities
    for _ in range(top_k):
        expert = jnp.argmax(left, axis=-1)
        chosen = expert[:, None] == jnp.arange(probabilities.shape[-1])
        gates.append(jnp.sum(jnp.where(chosen, probabilities, 0.0), axis=-1))
        experts.append(expert)
        left = jnp.where(chosen, -jnp.inf, left)
    return jnp.stack(gates, axis=-1), jnp.stack(experts, axis=-1)


def balance_loss(
    probabilities: Float[Array, "tokens experts"],
    expert: Int[Array, "tokens top_k"],
    is_token: Bool[Array, " tokens"],
) -> Float[Array, ""]:
    """Returns experts * sum(share * mean probability) over real tokens; 0 without any.

    Switch's equations 4 to 6 without alpha. Gradients flow through the probabilities only.
    """
    experts = probabilities.shape[-1]
    tokens = jnp.maximum(jnp.sum(is_token), 1)
    asked = jnp.where(is_token[:, None], expert, experts).reshape(-1)
    share = jnp.bincount(asked, length=experts) / (tokens * expert.shape[-1])
    mean_probability = jnp.sum(probabilities * is_token[:, None], axis=0) / tokens
    return experts * jnp.sum(share * mean_probability)


def z_loss(
    logits: Float[Array, "tokens experts"], is_token: Bool[Array, " tokens"]
) -> Float[Array, ""]:
    """Returns the mean squared log of the softmax's denominator over real tokens."""
    squared = jnp.square(jax.nn.logsumexp(logits, axis=-1))
    return jnp.sum(squared * is_token) / jnp.maximum(jnp.sum(is_token), 1)


class SortedByExpert(NamedTuple):
    """RouterOutput in the order of their experts; those without an expert come last.

    Attributes:
        order: number of the choice at each place.
        place: place of each choice, the inverse.
        start: place of each expert's first choice.
        waiting: how many chose each expert.
    """

    order: Int[Array, " assignments"]
    place: Int[Array, " assignments"]
    start: Int[Array, " experts"]
    waiting: Int[Array, " experts"]


def sort_by_expert(expert: Int[Array, " assignments"], experts: int) -> SortedByExpert:
    """Sorts choices by expert, earlier ones first; `experts` stands for none.

    A sort rather than the reference's cumulative sum of one-hot rows, which grows with `experts`.
    """
    order = jnp.argsort(expert, stable=True)
    place = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)), unique_indices=True)
    waiting = jnp.bincount(expert, length=experts)
    return SortedByExpert(order, place, jnp.cumsum(waiting) - waiting, waiting)
