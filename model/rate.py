"""A learning rate as a function of the step: T5's, with a warm-up and a linear decay if asked."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from model.configuration_checks import at_least_one, not_negative, positive, require


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A learning rate over steps: scale / sqrt(max(step, hold_steps)), then linearly to 0.

    Attributes:
        scale: numerator of the rate; 1 in T5.
        hold_steps: steps of constant rate; 10,000 in T5, which makes the rate 0.01.
        decay_from: share of the run after which the rate falls linearly to 0; 1 means never, as
            in T5. Short runs need the decay for a fair comparison at their end.
        warm_up_steps: steps over which the rate rises linearly; 0 in T5.
    """

    scale: float = 1.0
    hold_steps: int = 10_000
    decay_from: float = 1.0
    warm_up_steps: int = 0

    def __post_init__(self):
        positive(self, "scale")
        at_least_one(self, "hold_steps")
        shares = "a share of the run, from 0 to 1"
        require(self, ("decay_from",), lambda value: 0 <= value <= 1, shares)
        not_negative(self, "warm_up_steps")


@dataclass(frozen=True, kw_only=True)
class RateFrom(Rate):
    """A rate from one step on: that of a run which has had it from its first step.

    Attributes:
        step: number of steps made before.
    """

    step: int

    def __post_init__(self):
        super().__post_init__()
        at_least_one(self, "step")


def rate_of(config: Rate, steps: int) -> Callable[[ArrayLike], Array]:
    """Returns one rate as a function of the step, counted from 0, in a run of `steps`."""
    start = config.decay_from * steps

    def schedule(count: ArrayLike) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32)
        rate = config.scale / jnp.sqrt(jnp.maximum(step, config.hold_steps))
        left = jnp.clip((steps - step) / jnp.maximum(steps - start, 1.0), 0.0, 1.0)
        warm = jnp.minimum((step + 1) / max(config.warm_up_steps, 1), 1.0)
        return rate * left * warm

    return schedule
