"""By how much experts were chosen or missed, counted in bins over a batch.

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

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

SIDE = 512  # bins of positive margins, and of negative ones
BINS = 2 * SIDE + 1
WIDTH = 1 / 128  # nats; a margin beyond the last bin counts there


def counted_margins(
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
    inside, end = (jnp.take_along_axis(one, at, axis=-1) for one in (counts, up_to))
    within = (below - (end - inside)) / jnp.maximum(inside, 1)
    start = at - SIDE - (at > SIDE)
    return (WIDTH * (start + within * (at != SIDE)))[..., 0]
