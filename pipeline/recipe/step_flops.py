"""FLOPs of a training step."""

from model.flops import forward_flops
from pipeline.recipe.recipe import Recipe


def step_flops(recipe: Recipe) -> int:
    """Returns a training step's matrix-product FLOPs: forward, and twice as many backward.

    Rematerialized products are not counted, as MFU counts useful work.
    """
    lengths = recipe.lengths
    return 3 * recipe.rows * forward_flops(recipe.model, lengths.inputs, lengths.targets)
