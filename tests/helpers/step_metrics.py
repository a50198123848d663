"""Metrics of one step with two switch layers and two rows, one of each language."""

import numpy as np

from model.loss.training_loss import Losses
from model.step import GradientSite, StepMetrics, Trace
from model.switch.balancing import LayerRouting

SITES = [
    GradientSite((1, layer), f"encoder layer {layer}", "feed_forward.up") for layer in range(3)
]
MOVES = np.float32([])
LANGUAGES = ("sw", "yo")


def step_metrics(loss=10.0, tokens=5, skipped=False, squares=(1.0, 1.0, 2.0), rows=(5.0, 5.0)):
    load = np.int32([[4, 0], [2, 2]])
    layers = LayerRouting(load, *(np.float32([1, 1]) for _ in range(5)))
    routing = {"balance_loss": 1.0, "dropped_share": 0.25, "layers": layers}
    losses = Losses(np.float32(loss), tokens, 0.1, **routing)
    trace = Trace(np.float32(squares), np.float32(rows), np.int32([0, 1]), np.int32([3, 1]))
    return StepMetrics(losses, np.float32(2.0), np.float32(0.01), np.bool_(skipped), trace, MOVES)
