"""Bytes of a training step on one device, by hand."""

import pytest
from small_networks import sized

from model.config import MeshShape, OptimizerConfig
from model.memory import activation_bytes, bytes_per_device, checkpoint_bytes

WIDTH, MLP, ROWS = 128, 130, 256  # heads of 64 are 128 together
SIZES = {"vocabulary_rows": ROWS, "embed": WIDTH, "head": 64, "mlp": MLP, "layers": 1}
CONFIG = sized(**SIZES, activation_dtype="bfloat16")
BUCKETS = 32 * 2  # of distances, for two heads
# Matrices, with their rows and columns: one attention and a gated feed-forward in the encoder, in
# the decoder one attention more; embedding and logits. Vectors: norms and position biases.
MATRICES = [(WIDTH, WIDTH)] * 3 * 4 + [(WIDTH, MLP)] * 2 * 3 + [(ROWS, WIDTH)] * 2
VECTORS = [WIDTH] * (2 + 3 + 2) + [BUCKETS] * 2
PARAMETERS = 4 * (sum(rows * columns for rows, columns in MATRICES) + sum(VECTORS))
COUNTS = 4 * (len(MATRICES) + len(VECTORS))
# Adafactor: a row, a column and one number in place of what is not factored, or two beside it.
FACTORED = 4 * (sum(sum(sizes) + 1 for sizes in MATRICES) + sum(size + 2 for size in VECTORS))
MOMENTS = {"adafactor": FACTORED + COUNTS, "adamw": 2 * PARAMETERS + COUNTS}


@pytest.mark.parametrize("rule", MOMENTS)
def test_a_step_is_parameters_moments_and_the_larger_of_gradients_and_loss(rule):
    optimizer = OptimizerConfig(rule=rule)
    state = PARAMETERS + MOMENTS[rule]
    assert checkpoint_bytes(CONFIG, optimizer) == state

    def beside(rows, logits_bytes):
        sizes = {"rows": rows, "targets": 32, "logits_bytes": logits_bytes, "inputs": 8}
        sizes |= {"remat": "full", "accumulates": False}
        return bytes_per_device(CONFIG, optimizer, MeshShape(), **sizes) - state

    # The output matrix in bfloat16, and its gradient in float32.
    matrix = ROWS * WIDTH * (2 + 4)
    assert beside(2, 2**30) == PARAMETERS
    assert beside(64, 2**30) == 64 * 32 * ROWS * 4 + matrix > PARAMETERS
    assert beside(64, 1_500_000) == 1_500_000 + matrix > PARAMETERS


# In the encoder the block's input; queries, keys, values, result; the sum after attention. In the
# decoder twice as much attention.
KEPT = {"full": 1 + 1, "attention": 2 + 4 + 8, "products": 2 + 4 + 8 + 1 + 2}


@pytest.mark.parametrize("remat", KEPT)
def test_activations_are_what_a_policy_keeps_of_a_layer(remat):
    inner = 2 * 2 * MLP if remat == "products" else 0  # gate and up, in both stacks
    kept = 2 * 64 * (KEPT[remat] * WIDTH + inner)  # bytes and tokens, as many in both stacks
    assert activation_bytes(CONFIG, remat, 64, 64) == kept
    # Several microbatches keep the sum of their gradients beside them.
    sizes = {"rows": 4096, "inputs": 64, "targets": 64, "logits_bytes": 2**20, "remat": remat}
    once, parts = (
        bytes_per_device(CONFIG, OptimizerConfig(), MeshShape(), **sizes, accumulates=several)
        for several in (False, True)
    )
    assert parts - once == PARAMETERS
