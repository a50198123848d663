"""Bytes of a training step on one device, by hand."""

import pytest

from model.config import MeshShape, ModelConfig, OptimizerConfig
from model.memory import bytes_per_device, checkpoint_bytes

WIDTH, MLP, ROWS = 128, 130, 256  # heads of 64 are 128 together
CONFIG = ModelConfig(vocabulary_rows=ROWS, embed=WIDTH, heads=2, head=64, mlp=MLP, layers=1)
# One attention and a gated feed-forward in the encoder; in the decoder one attention more.
ATTENTION, FEED_FORWARD, OUTER, NORMS, POSITIONS = 3 * 4, 2 * 3, 2, 2 + 3 + 2, 2
BUCKETS = 32 * 2  # of distances, for two heads
PARAMETERS = 4 * (
    ATTENTION * WIDTH * WIDTH
    + FEED_FORWARD * WIDTH * MLP
    + OUTER * ROWS * WIDTH
    + NORMS * WIDTH
    + POSITIONS * BUCKETS
)
ARRAYS = ATTENTION + FEED_FORWARD + OUTER + NORMS + POSITIONS
# Adafactor: a row, a column and one number in place of what is not factored, or two beside it.
FACTORED = 4 * (
    ATTENTION * (WIDTH + WIDTH + 1)
    + FEED_FORWARD * (WIDTH + MLP + 1)
    + OUTER * (ROWS + WIDTH + 1)
    + NORMS * (WIDTH + 2)
    + POSITIONS * (BUCKETS + 2)
)
MOMENTS = {"adafactor": FACTORED + 4 * ARRAYS, "adamw": 2 * PARAMETERS + 4 * ARRAYS}  # and counts


@pytest.mark.parametrize("rule", MOMENTS)
def test_a_step_is_parameters_moments_and_the_larger_of_gradients_and_loss(rule):
    optimizer = OptimizerConfig(rule=rule)
    state = PARAMETERS + MOMENTS[rule]
    assert checkpoint_bytes(CONFIG, optimizer) == state

    def beside(rows, logits_bytes):
        one = MeshShape()
        sizes = {"rows": rows, "targets": 32, "logits_bytes": logits_bytes}
        return bytes_per_device(CONFIG, optimizer, one, **sizes) - state

    # The output matrix in bfloat16, and its gradient in float32.
    matrix = ROWS * WIDTH * (2 + 4)
    assert beside(2, 2**30) == PARAMETERS
    assert beside(64, 2**30) == 64 * 32 * ROWS * 4 + matrix > PARAMETERS
    assert beside(64, 1_500_000) == 1_500_000 + matrix > PARAMETERS
