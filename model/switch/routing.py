"""Routing: the router's decision for one group of tokens, as expert indices, gates and losses.

* A token's output is the sum of `gate * expert(x)` over its k experts; the gate is what makes
  routing learnable. With top-1 it is the router's probability, as in Switch; with top-k the k gates
  are normalized to sum to 1 before any assignment is dropped, as in GShard.
* Biases of experts (`balancing.py`) move the choice of a token's experts and none of its gates.
* Padding is neither routed nor counted in any of the losses.
* The balance loss counts assignments before capacity: 1 if even, `experts` if all tokens choose one
  expert. It counts shares of assignments, so 1 means even for any k.
* Noise on the router's input in training is drawn from the number of a group or a slot in the whole
  batch, so neither the mesh nor microbatches change it.

Sources: Switch Transformer (Fedus et al. 2022), sections 2.1 and 2.2; for top-k above 1 GShard
(Lepikhin et al. 2020) and `mesh_tensorflow/transformer/moe.py`; for the z-loss ST-MoE (Zoph et al.
2022), equation 5. Everything here is float32, the paper's selective precision (section 2.4).

A token's margin for an expert is the expert's score minus the highest score that was not chosen:
positive for its k experts, 0 for the next best, negative for the others. If the bias of an expert
with too many tokens falls by the margin that only an even share of all tokens exceeds, that share
still chooses it. For an expert with too few tokens this margin is 0 as long as it is the next best
of enough others: its bias then stays until the biases of the other experts have fallen.

A quantile over a whole batch needs all tokens, which are on different devices and in different
microbatches. Counts in bins add up over both, so the result depends on neither. The idea is that of
Kimi K3's report (2026, section 2.3.3), which counts 1,000 bins. Here margins of 0 have one of their
own, because each token has one such expert.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

SIDE = 512  # bins of positive margins, and of negative ones
BINS = 2 * SIDE + 1
WIDTH = 1 / 128  # nats; a margin beyond the last bin counts there


class RouterOutput(NamedTuple):
    """The routing of one group.

    Attributes:
        expert_index: the token's k experts, highest score first; ties go to the lower index.
        gate: weight of each of these experts' outputs.
        entropy_nats: entropy of the router's distribution.
        balance_loss: balance loss of the group, before its weight.
        z_loss: z-loss of the group, before its weight.
    """

    expert_index: Int[Array, "tokens top_k"]
    gate: Float[Array, "tokens top_k"]
    entropy_nats: Float[Array, " tokens"]
    balance_loss: Float[Array, ""]
    z_loss: Float[Array, ""]


def route(
    logits: Float[Array, "tokens experts"],
    is_token: Bool[Array, " tokens"],
    top_k: int,
    bias: Float[Array, " experts"] | None = None,
) -> RouterOutput:
    """Returns each token's experts and their gates.

    Args:
        logits: the router's output in float32.
        is_token: False for padding, whose expert index is meaningless.
        top_k: experts per token.
        bias: what is added to the logits to choose experts; None to choose the most probable.
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    scores = probabilities if bias is None else logits + bias
    # With top-k above 1, gates are a softmax of the chosen logits, which sums to 1. Where biases
    # choose, the probabilities of all chosen experts may underflow to 0.
    gate, expert_index = _top_k(scores, probabilities if top_k == 1 else logits, top_k)
    if top_k > 1:
        gate = jax.nn.softmax(gate, axis=-1)
    return RouterOutput(
        expert_index=expert_index,
        gate=gate,
        entropy_nats=jnp.sum(jax.scipy.special.entr(probabilities), axis=-1),
        balance_loss=balance_loss(probabilities, expert_index, is_token),
        z_loss=z_loss(logits, is_token),
    )


def _top_k(
    scores: Float[Array, "tokens experts"],
    values: Float[Array, "tokens experts"],
    top_k: int,
) -> tuple[Float[Array, "tokens top_k"], Int[Array, "tokens top_k"]]:
    """Returns the values of the experts with the k highest scores; of equal ones the first.

    Same choice as `lax.top_k`, which compiles to a sort of all experts on TPUs even for k = 1.
    """
    chosen, indices, remaining = [], [], scores
    for _ in range(top_k):
        index = jnp.argmax(remaining, axis=-1)
        is_chosen = index[:, None] == jnp.arange(values.shape[-1])
        chosen.append(jnp.sum(jnp.where(is_chosen, values, 0.0), axis=-1))
        indices.append(index)
        remaining = jnp.where(is_chosen, -jnp.inf, remaining)
    return jnp.stack(chosen, axis=-1), jnp.stack(indices, axis=-1)


def balance_loss(
    probabilities: Float[Array, "tokens experts"],
    expert_index: Int[Array, "tokens top_k"],
    is_token: Bool[Array, " tokens"],
) -> Float[Array, ""]:
    """Returns experts * sum(share of assignments * mean probability); 0 without real tokens.

    Switch's equations 4 to 6 without alpha. Gradients flow through the probabilities only.
    """
    experts = probabilities.shape[-1]
    tokens = jnp.maximum(jnp.sum(is_token), 1)
    assignments = jnp.where(is_token[:, None], expert_index, experts).reshape(-1)
    share = jnp.bincount(assignments, length=experts) / (tokens * expert_index.shape[-1])
    mean_probability = jnp.sum(probabilities * is_token[:, None], axis=0) / tokens
    return experts * jnp.sum(share * mean_probability)


def batch_balance_loss(
    load: Int[Array, "*layers experts"], probability: Float[Array, "*layers experts"]
) -> Float[Array, "*layers"]:
    """Returns the balance loss of a whole batch, multiplied by its number of real tokens.

    Source: Qiu et al. 2025 (Demons in the Detail), equation 4. The load of a single group, such as
    one with a single language, may be uneven as long as that of the batch is even.

    Args:
        load: assignments of the batch, before capacity.
        probability: sum of probabilities over its real tokens.
    """
    share = load / jnp.maximum(jnp.sum(load, axis=-1, keepdims=True), 1)
    return load.shape[-1] * jnp.sum(share * probability, axis=-1)


def z_loss(
    logits: Float[Array, "tokens experts"], is_token: Bool[Array, " tokens"]
) -> Float[Array, ""]:
    """Returns the mean over real tokens of the squared log of the softmax's denominator."""
    squared = jnp.square(jax.nn.logsumexp(logits, axis=-1))
    return jnp.sum(squared * is_token) / jnp.maximum(jnp.sum(is_token), 1)


def with_jitter(
    x: Float[Array, "groups tokens embed"],
    jitter: float,
    key: Key[Array, ""] | None,
    first_group: Int[Array, ""],
) -> Float[Array, "groups tokens embed"]:
    """Multiplies by U(1 - jitter, 1 + jitter); a group's noise depends on its number only."""
    if jitter == 0.0:
        return x
    assert key is not None  # jitter has a key
    numbers = first_group + jnp.arange(len(x))
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    noise = jax.vmap(
        lambda key: jax.random.uniform(key, x.shape[1:], minval=1 - jitter, maxval=1 + jitter)
    )(keys)
    return x * noise


def margin_counts(
    scores: Float[Array, "groups tokens experts"],
    expert_index: Int[Array, "groups tokens top_k"],
    is_token: Bool[Array, "groups tokens"],
) -> Int[Array, "experts bins"]:
    """Returns the number of real tokens with a margin in each bin, for each expert.

    Args:
        scores: logits plus biases, by which experts were chosen.
        expert_index: chosen experts, fewer than there are.
        is_token: False for padding.
    """
    experts = scores.shape[-1]
    margin = margins(scores, expert_index)
    bin_of = jnp.floor(margin / WIDTH) + SIDE + (margin > 0)
    bin_of = jnp.clip(bin_of, 0, BINS - 1).astype(jnp.int32) + BINS * jnp.arange(experts)
    bin_of = jnp.where(is_token[..., None], bin_of, BINS * experts)  # beyond the last
    return jnp.bincount(bin_of.reshape(-1), length=BINS * experts).reshape(experts, BINS)


def margins(
    scores: Float[Array, "*tokens experts"], expert_index: Int[Array, "*tokens top_k"]
) -> Float[Array, "*tokens experts"]:
    """Returns each score minus the highest one that was not chosen for its token."""
    is_chosen = expert_index[..., None] == jnp.arange(scores.shape[-1])
    left = jnp.where(jnp.any(is_chosen, axis=-2), -jnp.inf, scores)
    return scores - jnp.max(left, axis=-1, keepdims=True)


def margin_quantile(share: float, counts: Int[Array, "*layers bins"]) -> Float[Array, "*layers"]:
    """Returns the margin that a share of the tokens exceeds, interpolated within its bin.

    Args:
        share: share of the tokens, between 0 and 1.
        counts: number of tokens in each bin.
    """
    up_to = jnp.cumsum(counts, axis=-1)
    below = (1 - share) * up_to[..., -1:]
    at = jnp.argmax(up_to >= below, axis=-1, keepdims=True)
    inside, end = (jnp.take_along_axis(numbers, at, axis=-1) for numbers in (counts, up_to))
    within = (below - (end - inside)) / jnp.maximum(inside, 1)
    start = at - SIDE - (at > SIDE)
    return (WIDTH * (start + within * (at != SIDE)))[..., 0]
