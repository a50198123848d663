import jax
import numpy as np

from model.batch import causal_mask
from model.config import ModelConfig
from model.layers.attention import Attention
from tests.helpers.small_networks import mesh_of

CONFIG = ModelConfig(
    vocabulary_rows=128, embed=16, heads=2, head=8, mlp=24, layers=2, activation_dtype="float32"
)


def test_attention_equals_loops():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 5, 16)).astype(np.float32)
    bias = generator.normal(size=(2, 5, 5)).astype(np.float32)

    @jax.jit
    def run(key, x, bias):
        attention = Attention.init(CONFIG, key=key)
        return attention, attention(x, x, bias, causal_mask(5), mesh_of())

    attention, y = run(jax.random.key(1), x, bias)
    expected = np.zeros((5, 16))
    for head in range(2):
        query, key, value = (
            x[0] @ np.asarray(w)[:, head] for w in (attention.query, attention.key, attention.value)
        )
        for place in range(5):
            scores = query[place] @ key[: place + 1].T + bias[head, place, : place + 1]
            weights = np.exp(scores - scores.max())
            mixed = weights / weights.sum() @ value[: place + 1]
            expected[place] += mixed @ np.asarray(attention.output)[head]
    np.testing.assert_allclose(y[0], expected, atol=1e-5)
