"""Small networks with reproducible weights and batches, from NumPy's frozen RandomState.

Shared by the live comparison (`parity/hugging_face.py`) and the test of its frozen numbers. Sources
are longer than the farthest relative position (128) and right-padded.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np

SHAPE = {
    "vocab_size": 256,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
SOURCE, TARGET = 160, 136
LENGTHS = ((160, 136), (131, 40), (20, 9))
CASES: dict[str, dict[str, Any]] = {
    "mt5": {"model_type": "mt5", "feed_forward_proj": "gated-gelu"},
    "t5": {"model_type": "t5", "feed_forward_proj": "relu"},
    "switch": {
        "model_type": "switch_transformers",
        "num_experts": 4,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "expert_capacity": 36,
    },
    # mswitch-base: gated experts, logits by a matrix of their own.
    "gated-switch": {
        "model_type": "mswitch",
        "dense_act_fn": "gelu_new",
        "num_experts": 4,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "expert_capacity": 36,
        "tie_word_embeddings": False,
    },
    # Switch-C: every feed-forward sparse, logits by a matrix of their own.
    "switch-c": {
        "model_type": "switch_transformers",
        "num_experts": 8,
        "num_sparse_encoder_layers": 2,
        "num_sparse_decoder_layers": 2,
        "expert_capacity": 18,
        "tie_word_embeddings": False,
    },
}


class Rows(NamedTuple):
    """Ids of a batch; 0 is padding."""

    inputs: np.ndarray
    targets: np.ndarray


def config(case: str) -> dict[str, Any]:
    """The config.json of a case."""
    return SHAPE | CASES[case]


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of this name: scaled by its fan-in, so that every part of the network matters."""
    draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("norm.weight"):
        return (1 + 0.1 * draw).astype(np.float32)
    if "bias" in name or "shared" in name or "classifier" in name:
        return draw.astype(np.float32)
    scale = shape[-1] ** -0.5 * (8**-0.5 if ".q." in name else 1)
    return (scale * draw).astype(np.float32)


def rows(seed: int = 0) -> Rows:
    """Three right-padded rows."""
    random = np.random.RandomState(seed)
    inputs, targets = (random.randint(2, 256, (3, length)) for length in (SOURCE, TARGET))
    for row, (source, target) in enumerate(LENGTHS):
        inputs[row, source - 1], targets[row, target - 1] = 1, 1
        inputs[row, source:], targets[row, target:] = 0, 0
    return Rows(inputs.astype(np.int32), targets.astype(np.int32))
