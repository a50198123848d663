"""The program that makes the first state of an upcycled run; `plan` compiles it too."""

from typing import NamedTuple

import jax

from model.conversions.upcycling import first_arrays, first_moments
from model.step import TrainState
from model.trainer import Trainer

NOISE = 2**32 - 2  # key of the experts' noise within the seed's; FIRST_WEIGHTS is another


class Beginning(NamedTuple):
    """How a Switch begins as a dense run.

    Attributes:
        step: first step of the Switch.
        seed: seed of its routers and of the noise.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        carries_moments: whether the dense run's optimizer state is carried.
    """

    step: int
    seed: int
    logits: float
    noise: float
    carries_moments: bool


def first_state(dense: Trainer, switch: Trainer, beginning: Beginning) -> jax.stages.Wrapped:
    """Returns the function from a dense run's state to the first state of a Switch.

    The Switch's random state is drawn inside, so that the compiler leaves out all of it that is
    replaced: only routers are drawn, and no second state of the Switch is in memory.
    """

    def first(state: TrainState) -> TrainState:
        drawn = switch.init()
        arrays = first_arrays(
            state.arrays,
            drawn.arrays,
            logits=beginning.logits,
            noise=beginning.noise,
            key=jax.random.fold_in(jax.random.key(beginning.seed), NOISE),
        )
        carries = beginning.carries_moments
        moments = first_moments(state, drawn) if carries else drawn.optimizer
        return TrainState(arrays, moments, drawn.step + beginning.step)

    return jax.jit(first, in_shardings=(dense.shardings,), out_shardings=switch.shardings)
