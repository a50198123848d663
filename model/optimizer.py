"""Adafactor as T5 and Switch use it, or AdamW, with separate statistics for each matrix.

Source: Shazeer and Stern 2018; `mesh_tensorflow/optimize.py`. No momentum, second moments decayed
by 1 - t^-0.8 and factored into rows and columns if both dimensions are at least 128, update
clipped to root mean square 1, then scaled by the parameter's own root mean square (at least 1e-3).
The learning rate is T5's 1 / sqrt(max(step, 10,000)), which is therefore relative.

AdamW (Loshchilov and Hutter 2019) keeps two moments of the parameter's size. Its rate is absolute,
so a recipe with AdamW sets `scale` (0.1 makes the rate 0.001) and `warm_up_steps`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from model.configuration_checks import (
    ConfigurationError,
    ascending,
    not_negative,
)
from model.per_matrix import matrix_stacks, per_matrix
from model.rate import Rate, RateFrom, rate_of

DECAY_EXPONENT = 0.8
CLIPPING_THRESHOLD = 1.0
FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8  # of AdamW, as published


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Rate):
    """The update rule and its learning rate.

    Attributes:
        rule: adafactor (T5, mT5, Switch) or adamw.
        weight_decay: decay of matrices per step, times the rate; AdamW only.
        largest_gradient_norm: gradient norm above which a step is skipped. Norms of healthy runs
            are around 1 and below, and Adafactor clips its updates itself: this limit does not
            clip, it skips steps with exploded gradients.
        rate_from: rates that replace this one, in ascending order of their steps.
    """

    rule: Literal["adafactor", "adamw"] = "adafactor"
    weight_decay: float = 0.0
    largest_gradient_norm: float = 1e3
    rate_from: tuple[RateFrom, ...] = ()

    SECTION = "optimizer."

    def __post_init__(self):
        super().__post_init__()
        if self.rule not in ("adafactor", "adamw"):
            raise ConfigurationError(f"optimizer.rule was {self.rule!r}; it is adafactor or adamw.")
        not_negative(self, "weight_decay")
        if self.weight_decay and self.rule == "adafactor":
            raise ConfigurationError(
                f"optimizer.weight_decay was {self.weight_decay} with adafactor, which has none "
                "here; set optimizer.rule=adamw or leave it 0."
            )
        if not self.largest_gradient_norm > 0:  # NaN neither
            raise ConfigurationError(
                f"optimizer.largest_gradient_norm was {self.largest_gradient_norm}; it must be "
                "positive (inf: never skip)."
            )
        ascending("optimizer.rate_from", [one.step for one in self.rate_from])


def learning_rate(config: OptimizerConfig, steps: int) -> Callable[[ArrayLike], Array]:
    """Returns the learning rate as a function of the step, counted from 0, in a run of `steps`."""
    first = rate_of(config, steps)
    later = [(one.step, rate_of(one, steps)) for one in config.rate_from]

    def schedule(count: ArrayLike) -> Float[Array, ""]:
        rate = first(count)
        for step, changed in later:
            rate = jnp.where(jnp.asarray(count) < step, rate, changed(count))
        return rate

    return schedule


def make_optimizer(config: OptimizerConfig, model: eqx.Module) -> optax.GradientTransformation:
    """Returns the optimizer of a model (arrays or shapes; only dimension names are read).

    The caller multiplies its updates by minus the learning rate, which is a function of the step:
    an optimizer's own count would not advance at skipped steps.
    """
    matrix = adafactor() if config.rule == "adafactor" else adamw(config.weight_decay)
    return per_matrix(matrix, matrix_stacks(model))


def adafactor() -> optax.GradientTransformation:
    """Returns T5's Adafactor for one matrix, without the learning rate."""
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=DECAY_EXPONENT),
        optax.clip_by_block_rms(CLIPPING_THRESHOLD),
        optax.scale_by_param_block_rms(),
    )


def adamw(weight_decay: float) -> optax.GradientTransformation:
    """Returns AdamW for one matrix, without the learning rate; vectors (norms) do not decay."""
    return optax.chain(
        optax.scale_by_adam(FIRST_DECAY, SECOND_DECAY, EPSILON),
        optax.add_decayed_weights(weight_decay, mask=_is_matrix),
    )


def _is_matrix(leaf: Any) -> bool:
    return leaf.ndim > 1
