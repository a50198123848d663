"""A token's loss and its gradient with respect to the logits, where `model` may split the ids.

Runs within `over_devices`: each device has the logits of its own range of ids, and sums over ids
cross the `model` axis. With log Z the log of the softmax's denominator, p the softmax and q, t the
softmax of student and teacher at temperature T:

    loss     = hard share * (log Z - label's logit) + z-loss weight * log Z ^ 2
               + (1 - hard share) * T^2 * -sum of t log q
    gradient = (hard share + 2 * z-loss weight * log Z) * p - hard share * (is the label)
               + (1 - hard share) * T * (q - t)
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.sharding.exchanges import sum_over_model


class Objective(NamedTuple):
    """Weights of the terms of a token's loss.

    Attributes:
        z_loss_weight: weight of the squared log Z.
        hard_share: share of the labels; the rest is the teacher's.
        temperature: divisor of both logits in the teacher's part.
    """

    z_loss_weight: float = 0.0
    hard_share: float = 1.0
    temperature: float = 1.0


class TokenTerms(NamedTuple):
    """The terms of each token; `soft_nats`, times T^2, is None without a teacher."""

    nats: Float[Array, " tokens"]
    squared_log_z: Float[Array, " tokens"]
    soft_nats: Float[Array, " tokens"] | None


def token_loss(
    networks: Sequence[Float[Array, "tokens ids"]],
    label: Int[Array, " tokens"],
    objective: Objective,
) -> tuple[TokenTerms, Float[Array, "tokens ids"]]:
    """Returns the terms and the gradient; either costs nothing once compiled if it is not used.

    A label outside the vocabulary has NaN nats, so that its step is skipped and reported.

    Args:
        networks: logits of the student and, if there is one, of the teacher.
        label: target id of each token.
        objective: weights of the terms.
    """
    logits, *teachers = networks
    hard, temperature = objective.hard_share, objective.temperature
    log_z = _log_z(logits)
    is_label = _is_label(label, logits.shape[-1])
    # Compared, not indexed: an index would gather ids that are split over devices.
    label_logit = sum_over_model(jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1))
    known = (label >= 0) & (label < logits.shape[-1] * jax.lax.axis_size("model"))
    nats = log_z - jnp.where(known, label_logit, jnp.nan)
    gradient = (hard + 2 * objective.z_loss_weight * log_z)[:, None] * _softmax(logits, log_z)
    gradient -= jnp.where(is_label, hard, 0.0)
    if not teachers:
        return TokenTerms(nats, jnp.square(log_z), None), gradient
    softened, soft_targets = logits / temperature, teachers[0] / temperature
    soft_targets = _softmax(soft_targets, _log_z(soft_targets))
    soft_log_z = _log_z(softened)
    soft = soft_log_z - sum_over_model(jnp.sum(soft_targets * softened, axis=-1))
    of_soft = temperature * (_softmax(softened, soft_log_z) - soft_targets)
    gradient += (1 - hard) * of_soft
    return TokenTerms(nats, jnp.square(log_z), temperature**2 * soft), gradient


def _is_label(label: Int[Array, " tokens"], ids: int) -> Bool[Array, "tokens ids"]:
    first = jax.lax.axis_index("model") * ids
    return label[:, None] == first + jnp.arange(ids)


def _log_z(logits: Float[Array, "tokens ids"]) -> Float[Array, " tokens"]:
    largest = jnp.max(logits, axis=-1)
    if jax.lax.axis_size("model") > 1:
        largest = jax.lax.pmax(largest, "model")
    return largest + jnp.log(sum_over_model(jnp.sum(jnp.exp(logits - largest[:, None]), axis=-1)))


def _softmax(
    logits: Float[Array, "tokens ids"], log_z: Float[Array, " tokens"]
) -> Float[Array, "tokens ids"]:
    return jnp.exp(logits - log_z[:, None])
