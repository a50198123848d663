"""The numbers of one line of `metrics.jsonl`: the steps since the line before, reduced to one.

Losses of the steps are summed and divided by their tokens; a mean of per-step means would weight
tokens unequally.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import jax
import numpy as np

from model.loss.training_loss import Losses
from model.step import StepMetrics
from model.switch.balancing import LayerRouting
from pipeline.hardware.peaks import peak_flops
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.step_flops import step_flops

ROUTING = ("balance_loss", "router_z_loss", "dropped_share", "wasted_share", "router_entropy_nats")


def summary(metrics: Sequence[StepMetrics]) -> dict[str, float]:
    """Returns the loss over all steps of the interval, and the means of the other metrics.

    Skipped steps are counted and left out of every other number.
    """
    taken = [one for one in metrics if not one.skipped]
    line = {"skipped": len(metrics) - len(taken), "learning_rate": float(metrics[-1].learning_rate)}
    if not taken:
        return line
    losses = [one.losses for one in taken]
    return line | {
        "loss_nats": math.fsum(float(one.loss_nats) for one in losses)
        / max(target_tokens(losses), 1),
        **soft_loss(losses),
        "gradient_norm": fmean(one.gradient_norm for one in taken),
        **{name: fmean(getattr(one, name) for one in losses) for name in ROUTING},
        **worst_layer([one.layers for one in losses if one.layers is not None]),
    }


def soft_loss(losses: Sequence[Losses]) -> dict[str, float]:
    """Returns a student's loss against its teacher in nats per target token; {} if no teacher."""
    sums = [float(one.soft_loss_nats) for one in losses if one.soft_loss_nats is not None]
    return {"soft_loss_nats": math.fsum(sums) / max(target_tokens(losses), 1)} if sums else {}


def target_tokens(losses: Sequence[Losses]) -> int:
    """Returns the target tokens of all steps; their int32 sum would overflow at mT5's size."""
    return sum(int(one.target_tokens) for one in losses)


def worst_layer(layers: Sequence[LayerRouting]) -> dict[str, float]:
    """Returns the switch layer with the busiest expert, and that expert's load over an even load.

    Switch layers are counted from 1, the encoder's before the decoder's. The load is 1 if routing
    is even, and the number of experts if all tokens choose one expert. Returns {} for a dense
    network.
    """
    if not layers:
        return {}
    load = np.sum([one.load for one in layers], axis=0)
    busiest = load.max(axis=1) / np.maximum(load.mean(axis=1), 1e-9)
    worst = int(np.argmax(busiest))
    return {"worst_layer": worst + 1, "worst_layer_load": float(busiest[worst])}


def speed(recipe: Recipe, seconds: float) -> dict[str, float]:
    """Returns tokens per second and model FLOPs utilization of a step that took `seconds`.

    The utilization is left out for devices of unknown peak; all is left out if no time was taken.
    """
    if seconds <= 0:
        return {}
    lengths = recipe.lengths
    tokens = recipe.rows * (lengths.inputs + lengths.targets)
    found = {"seconds": seconds, "tokens_per_second": tokens / seconds}
    if peak := peak_flops(jax.devices()[0].device_kind):
        found["model_flops_utilization"] = (
            step_flops(recipe) / seconds / (peak * jax.device_count())
        )
    return found


def curves(line: Mapping[str, Any], *, sparse: bool) -> Iterator[str]:
    """Yields the names in a line that get a curve: no counters, and no routing if dense."""
    for name in line:
        if name not in ("step", "steps") and (sparse or name not in ROUTING):
            yield name
