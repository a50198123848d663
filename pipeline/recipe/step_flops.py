"""FLOPs of a training step."""

from model.config import ModelConfig
from model.flops import forward_flops


def step_flops(model: ModelConfig, rows: int, inputs: int, targets: int) -> int:
    """Returns a training step's matrix-product FLOPs: forward, and twice as many backward.

    Rematerialized products are not counted, as MFU counts useful work.
    """
    return 3 * rows * forward_flops(model, inputs, targets)
