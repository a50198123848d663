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

from model.batch import Batch
from model.call import Call
from model.configuration_checks import ConfigurationError, positive
from model.loss.chunks import LogitFactors
from model.loss.token_loss import Objective
from model.transformer import Transformer

Initialization = Literal["random", "non-experts", "experts-mean"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student learns from its teacher; defaults are the paper's best (table 6).

    Attributes:
        hard_share: share of the labels in the targets; the rest are the teacher's probabilities.
        temperature: divisor of both logits in the soft part.
        initialization: first weights of the student (`model/conversions/student.py`): random; the
            teacher's dense weights (non-experts); or these and the load-weighted mean of the
            experts in place of each sparse feed-forward (experts-mean).
    """

    hard_share: float = 0.75
    temperature: float = 1.0
    initialization: Initialization = "non-experts"

    SECTION = "distillation."

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

    def logit_factors(self, batch: Batch, call: Call) -> LogitFactors:
        """Returns the factors of the teacher's logits.

        Args:
            batch: the batch, or a microbatch of whole routing groups of the teacher.
            call: inputs of the student's forward pass, of which the teacher uses the mesh only.
        """
        return self.teacher.logit_factors(self.teacher(batch, Call(call.mesh)).decoded)

    @property
    def objective(self) -> Objective:
        """Weights of the terms of a student's loss, without z-loss."""
        config = self.config
        return Objective(hard_share=config.hard_share, temperature=config.temperature)
