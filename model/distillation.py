"""Learning from a teacher: how its probabilities join the labels in a student's training loss.

Source: Fedus et al. 2022 (Switch Transformer), section 4.2: "a mixture of 0.25 for the teacher
probabilities and 0.75 for the ground truth label". A mixture of targets is a mixture of
cross-entropies:

    nats = hard share * -log q(label) + (1 - hard share) * T^2 * sum of -p log q

with p and q the teacher's and the student's softmax at temperature T. T^2 is Hinton et al. 2015,
section 2: gradients of softened targets shrink by it, and with it the shares keep their meaning
whatever the temperature. The paper names none; 1 is plain mixing. Only the soft part is softened.

The teacher is called as it is evaluated: no jitter, no dropout, evaluation's capacity. That is the
network whose gain over the baseline was measured; dropless routing would be another one, and slow
on most meshes. No gradient reaches it: it is no function of the student's arrays.
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
    """How a student learns from its teacher; defaults are the paper's best (its table 6).

    Attributes:
        hard_share: of the labels in the targets; the rest are the teacher's probabilities.
        temperature: both softmaxes of the soft part are of logits divided by it.
        initialization: the student's first weights (`model/student.py`): random; the teacher's
            where it is dense (non-experts); or in place of a sparse feed-forward also the mean of
            its experts, weighted by load (experts-mean).
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
    """A teacher and how it is listened to."""

    config: DistillationConfig
    teacher: Transformer

    def soft_losses(
        self, logits: Float[Array, "batch target vocabulary"], batch: Batch, call: Call
    ) -> Float[Array, " batch"]:
        """Returns each row's nats to the teacher's probabilities, summed over real targets.

        Args:
            logits: the student's.
            batch: what both read; or a part of one, in whole routing groups of the teacher.
            call: the student's, of which the teacher has the mesh alone.
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

    In nats, summed over real targets. At its least it is the teacher's entropy, not 0.
    """
    wanted = jax.nn.softmax(teacher / temperature, axis=-1)
    softened = student / temperature
    nats = jax.nn.logsumexp(softened, axis=-1) - jnp.sum(wanted * softened, axis=-1)
    return temperature**2 * jnp.sum(nats * is_target, axis=-1)


def mixed(
    hard_nats: Float[Array, ""], soft_nats: Float[Array, ""], hard_share: float
) -> Float[Array, ""]:
    """Returns the nats to minimise: those to the labels and those to the teacher, by their shares.

    A share of 0 leaves its part out, so that nothing of it, not even a NaN, comes through.
    """
    if hard_share in (0.0, 1.0):
        return hard_nats if hard_share else soft_nats
    return hard_share * hard_nats + (1 - hard_share) * soft_nats
