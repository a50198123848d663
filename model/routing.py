"""Top-1 routing of one group of tokens: which expert, which of its slots, and how much it counts.

Source: Switch Transformer (Fedus et al. 2022), section 2.1 and 2.2. Everything here is float32,
which is the paper's selective precision (section 2.4). What to know:

* `gate * expert(x)` is the output; the gate is what makes the choice of expert learnable.
* A token takes the next free slot of its expert in order of position; the first gets slot 0 (the
  paper's pseudo-code counts from 1 and so wastes a slot; its code does not).
* Tokens beyond the capacity, and padding, get no slot: the residual connection carries them on.
* Padding is neither routed nor counted, in the share nor in the mean probability.
* The balance loss looks at what tokens asked for, before capacity: 1 when even, `experts` when all
  choose one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Route(NamedTuple):
    """Where each token of a group goes.

    Attributes:
        expert: the chosen expert, also for tokens without a slot.
        slot: its place among the expert's tokens; `capacity` or more means dropped.
        gate: probability of the chosen expert, 0 for tokens without a slot.
        kept: True for tokens with a slot.
        entropy_nats: of the router's distribution, a token.
        balance_loss: of the group.
    """

    expert: Int[Array, " tokens"]
    slot: Int[Array, " tokens"]
    gate: Float[Array, " tokens"]
    kept: Bool[Array, " tokens"]
    entropy_nats: Float[Array, " tokens"]
    balance_loss: Float[Array, ""]


def expert_capacity(tokens: int, experts: int, factor: float, minimum: int) -> int:
    """Returns the slots of one expert in one group.

    Flaxformer's `max(round(factor * tokens / experts), minimum)`, and never more than the tokens.
    """
    return min(max(round(factor * tokens / experts), minimum), tokens)


def route(
    logits: Float[Array, "tokens experts"], is_token: Bool[Array, " tokens"], capacity: int
) -> Route:
    """Routes one group.

    Args:
        logits: the router's, float32.
        is_token: False for padding.
        capacity: slots of each expert.
    """
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    expert = jnp.argmax(probabilities, axis=-1)
    chosen = jax.nn.one_hot(expert, logits.shape[-1], dtype=jnp.int32) * is_token[:, None]
    arrival = jnp.cumsum(chosen, axis=0) - 1
    slot = jnp.take_along_axis(arrival, expert[:, None], axis=1)[:, 0]
    slot = jnp.where(is_token, slot, capacity)
    kept = slot < capacity
    gate = jnp.take_along_axis(probabilities, expert[:, None], axis=1)[:, 0] * kept
    return Route(
        expert=expert,
        slot=slot,
        gate=gate,
        kept=kept,
        entropy_nats=jnp.sum(jax.scipy.special.entr(probabilities), axis=-1),
        balance_loss=balance_loss(probabilities, chosen, is_token),
    )


def balance_loss(
    probabilities: Float[Array, "tokens experts"],
    chosen: Int[Array, "tokens experts"],
    is_token: Bool[Array, " tokens"],
) -> Float[Array, ""]:
    """Returns experts * sum(share * mean probability) over real tokens; 0 without any.

    Equations 4 to 6 without alpha. Gradients flow through the probabilities only.
    """
    tokens = jnp.maximum(jnp.sum(is_token), 1)
    share = jnp.sum(chosen, axis=0) / tokens
    mean_probability = jnp.sum(probabilities * is_token[:, None], axis=0) / tokens
    return probabilities.shape[-1] * jnp.sum(share * mean_probability)


def token_of_slot(routes: Route, experts: int, capacity: int) -> Int[Array, "experts capacity"]:
    """Returns which token sits in each slot; empty slots hold the number of tokens.

    Index gather instead of the reference's one-hot products, which cost half the layer again.
    """
    tokens = routes.expert.shape[0]
    empty = jnp.full((experts, capacity), tokens, jnp.int32)
    return empty.at[routes.expert, routes.slot].set(jnp.arange(tokens), mode="drop")
