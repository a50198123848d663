"""Distillation: the teacher's probabilities beside the labels in a student's training loss.

Source: Fedus et al. 2022 (Switch Transformer), section 4.2: "a mixture of 0.25 for the teacher
probabilities and 0.75 for the ground truth label". A mixture of targets is a mixture of
cross-entropies:

    nats = hard share * -log q(label) + (1 - hard share) * T^2 * sum of -p log q

with p and q the teacher's and the student's softmax at temperature T. The factor T^2 is from Hinton
et al. 2015, section 2: gradients of softened targets shrink by 1 / T^2, so the factor keeps the
shares independent of the temperature. The Switch paper gives no temperature; 1 is plain mixing.
Only the soft part is softened.

The teacher runs as in evaluation: no jitter, no dropout, evaluation's capacity. Its gain over the
baseline was measured so; dropless routing would be a different network, and slow on most meshes. No
gradient reaches it, because it does not depend on the student's arrays.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from model.batch import Batch
from model.config import ConfigurationError, positive
from model.stack import Call
from model.transformer import Transformer

Initialization = Literal["random", "non-experts", "experts-mean"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student learns from its teacher; defaults are the paper's best (table 6).

    Attributes:
        hard_share: share of the labels in the targets; the rest are the teacher's probabilities.
        temperature: divisor of both logits in the soft part.
        initialization: first weights of the student (`model/student.py`): random; the teacher's
            dense weights (non-experts); or these and the load-weighted mean of the experts in place
            of each sparse feed-forward (experts-mean).
    """

    hard_share: float = 0.75
    temperature: float = 1.0
    initialization: Initialization = "non-experts"

    def __post_init__(self):
        if not 0 <= self.hard_share <= 1:
            raise ConfigurationError(
                f"distillation.hard_share was {self.hard_share}; it must be between 0 (the "
                "teacher's probabilities alone) and 1 (the labels alone)."
            )
        positive(self, "temperature")
        if self.initialization not in get_args(Initialization):
            raise ConfigurationError(
                f"distillation.initialization was {self.initialization!r}; it must be one of "
                f"{', '.join(get_args(Initialization))}."
            )


class Distillation(NamedTuple):
    """A teacher and how its student learns from it."""

    config: DistillationConfig
    teacher: Transformer

    def soft_losses(
        self, logits: Float[Array, "batch target vocabulary"], batch: Batch, call: Call
    ) -> Float[Array, " batch"]:
        """Returns each row's nats to the teacher's probabilities, summed over real targets.

        Args:
            logits: logits of the student.
            batch: the batch, or a microbatch of whole routing groups of the teacher.
            call: inputs of the student's forward pass, of which the teacher uses the mesh only.
        """
        teacher_logits = self.teacher(batch, Call(call.mesh)).logits
        return soft_losses(logits, teacher_logits, batch.is_target, self.config.temperature)


def soft_losses(
    student: Float[Array, "batch target vocabulary"],
    teacher: Float[Array, "batch target vocabulary"],
    is_target: Bool[Array, "batch target"],
    temperature: float,
) -> Float[Array, " batch"]:
    """Returns each row's cross-entropy from teacher to student, times the squared temperature.

    In nats, summed over real targets. Its minimum is the teacher's entropy, not 0.
    """
    soft_targets = jax.nn.softmax(teacher / temperature, axis=-1)
    softened = student / temperature
    nats = jax.nn.logsumexp(softened, axis=-1) - jnp.sum(soft_targets * softened, axis=-1)
    return temperature**2 * jnp.sum(nats * is_target, axis=-1)


def mixed(
    hard_nats: Float[Array, ""], soft_nats: Float[Array, ""], hard_share: float
) -> Float[Array, ""]:
    """Returns the weighted sum of the nats to the labels and to the teacher.

    A share of 0 omits its term, so that not even its NaN comes through.
    """
    if hard_share in (0.0, 1.0):
        return hard_nats if hard_share else soft_nats
    return hard_share * hard_nats + (1 - hard_share) * soft_nats
